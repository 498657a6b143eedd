//! A tree with everything that a file system can hold and a tar can lose, and what is to come
//! back of it.

use std::os::unix::net::UnixListener;

use super::{Sandbox, has};

/// Everything that a file system can hold and a tar can lose.
const RICH: &str = r#"
set -e
mkdir rich; cd rich
touch -- '-rf' ' spaces ' $'two\nlines' $'no utf-8 \xff\xfe' 'quotes"'"'" '*' .hidden 'back\slash' é
long=$(printf 'n%.0s' {1..255})
mkdir -p deep/$long/$long empty
echo deep > deep/$long/$long/$long
echo deep > deep/$long/$'\xff'${long:1}
ln -s deep/$long/$long/$long far
ln -s $'no\nwhere \xff' dangling
mkdir links; echo one > links/b; ln links/b links/a; ln links/b deep/$long/again
ln -s b links/s; ln links/s links/t; mkfifo pipe; ln pipe pipe-again
mkdir sizes
for size in 0 1 511 512 513 1048575 1048576 1310721 5242880; do
    head -c $size /dev/urandom > sizes/$size
done
mkdir holes
holes() {
    truncate -s $2 "holes/$1"
    for at in ${@:3}; do printf data | dd of="holes/$1" bs=1 seek=$at conv=notrunc status=none; done
}
holes all 3000000
holes start 1048580 1048576
holes middle 3000000 0 2999996
holes end 3000000 0
holes many 20000000 $(seq 5 100000 20000000)
holes large 40000001 1000 20000000 30000000
head -c 3000000 /dev/urandom | dd of=holes/large bs=1M seek=12 conv=notrunc status=none
holes $'no utf-8 \xff' 3000000 1048576
holes ${long:1} 3000000 1048576
mkdir modes; cd modes
for mode in 400 4755 2755 6711 1644; do touch $mode; chmod $mode $mode; done
for mode in 1777 2770 500; do mkdir d$mode; touch d$mode/in; chmod $mode d$mode; done
cd ..; mkdir times; cd times
touch -d @-1.75 old; touch -d @1.000000001 nanos; touch -d @-86400 day; touch -d @9000000000.5 late
ln -s old link; touch -h -d @-0.25 link
mkdir dir; touch dir/in; touch -d @-3.141592653 dir
cd ..; touch -d @1000000000.123456789 empty pipe .
"#;

const XATTRS: &str = r#"
set -e
cd rich; mkdir xattrs xattrs/dir; cd xattrs; touch file
setfattr -n user.plain -v value file
setfattr -n user.lines -v $'a\nb=c\n12 path=x\n' file
setfattr -n user.zeros -v 0x00610000ff3d file
setfattr -n user.empty file
setfattr -n 'user.na=me%3D' -v x file
setfattr -n $'user.no utf-8 \xff' -v x file
setfattr -n user.dir -v d dir
"#;

const ACLS: &str = r#"
set -e
cd rich; mkdir acls acls/dir; cd acls; touch file
setfacl -m u:1234:rw,g:2345:r,m:rw file
setfacl -m u:1234:rwx -m d:u:1234:rwx,d:g:2345:rx,d:o:- dir
touch dir/heir; mkdir dir/heiress; setfacl -b dir/heiress
"#;

const ROOT: &str = r#"
set -e
cd rich; mkdir root; cd root
touch owned huge locked suid; chmod 0 locked
chown 1234:2345 owned suid; chown 3000000:4000000 huge; chmod 6755 suid
ln -s owned link; chown -h 1234:0 link
mknod null c 1 3; mknod disk b 259 70000
mkdir dir; chown 7:8 dir; chmod 2750 dir
"#;

const ROOT_XATTRS: &str = r#"
set -e
cd rich/root
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 owned
for of in link dir null; do setfattr -h -n trusted.note -v "on $of" $of; done
"#;

/// Prints all that is to come back of a tree.
const FACTS: &str = r#"
export LC_ALL=C
facts() (
    cd "$1"
    find . ! -type s -printf '%p: %M %m %U:%G %T@ -> %l\n' | sort
    find . -type f -printf '%p: %s bytes\n' | sort
    find . -type f -print0 | sort -z | xargs -0 -r sha256sum
    find . \( -type b -o -type c \) -exec stat -c '%n: device %t %T' {} + | sort
    find . ! -type d -links +1 -printf '%i %p\0' | sort -z -k 2 | awk 'BEGIN { RS = "\0" }
        { inode = $1; sub(/^[0-9]+ /, ""); if (!(inode in first)) first[inode] = $0; print $0 ": link to " first[inode] }'
)
attributes() (
    cd "$1"
    all() { find . ! -type s "$@" -print0 | sort -z; }
    ! command -v getfattr >/dev/null || all | xargs -0 getfattr -h -d -m - -e hex
    ! command -v getfacl >/dev/null || all ! -type l | xargs -0 getfacl -n -p
)
"#;

/// A sandbox with `rich/` in it, and its backup `a`.
pub fn rich() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(RICH);
    if has("setfattr") {
        sandbox.ok(XATTRS);
    }
    if has("setfacl") {
        sandbox.ok(ACLS);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: devices and owners, which take root");
    } else {
        sandbox.ok(ROOT);
        if has("setfattr") {
            sandbox.ok(ROOT_XATTRS);
        }
    }
    UnixListener::bind(sandbox.path("rich/socket")).unwrap();
    sandbox.run("bk-create --name a rich").fails(
        0,
        "bk-create: warning: 'rich/socket': a socket is not backed up\n",
    );
    sandbox
}

/// Asserts that `facts` or `attributes` of two trees are the same.
pub fn assert_same(sandbox: &Sandbox, what: &str, one: &str, other: &str) {
    let ran = sandbox.run(&format!(
        "{FACTS} diff -a <({what} {one} 2>&1) <({what} {other} 2>&1)"
    ));
    assert_eq!(ran.status, 0, "{what} differ:\n{}", ran.stdout);
}
