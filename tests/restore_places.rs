//! bk-restore where people restore: mount points, overlays, shares, other file systems, parents
//! that are gone, names without room, directories that are closed.

use bk_tests::{Sandbox, mounts};

/// What the other tests stand on: each kind of mount comes and goes, and lacks what it is to lack.
#[test]
fn mounts_come_go_and_lack_what_they_are_to_lack() {
    let sandbox = Sandbox::new();
    sandbox.write("low/f", "low\n");
    sandbox.write("root/f", "one\n");
    {
        let Some(_disk) = mounts::tmpfs(&sandbox, "disk", "size=1M") else {
            return;
        };
        sandbox.ok("mountpoint -q disk; echo x >disk/f");
        if mounts::overlay(&sandbox, "low", "merged").is_some() {
            sandbox.ok("! mountpoint -q merged");
        }
        if let Some(_bound) = mounts::bind(&sandbox, "low", "bound") {
            sandbox.ok("cat bound/f");
        }
        if let Some(_image) = mounts::image(&sandbox, "mkfs.ext4 -q -F -I 128", "8M", "ext") {
            sandbox.ok("touch ext/f; stat -c %y ext/f | grep -F .000000000");
        }
        let lacks = "nolink,noxattr,nochmod,nochown,statfs0,small=4,zero,nodir";
        if let Some(_fuse) = mounts::fuse(&sandbox, "root", "m", lacks) {
            sandbox.ok("cat m/f | grep one && stat -c %s m/f | grep -qx 0 && ! ln m/f m/g");
            sandbox.ok("! chmod 600 m/f; ! chown 1:1 m/f; echo abc >m/h; ! echo abcd >m/h");
            sandbox.ok("stat -f -c %b m | grep -qx 0; ! setfattr -n user.a -v b m/f; ! sync m");
        }
    }
    sandbox.ok("! mountpoint -q disk; ! mountpoint -q m; test ! -e disk/f");
}
