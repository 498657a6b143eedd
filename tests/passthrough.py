"""A directory once more, through a file system that lacks something: for the tests of odd places.

usage: passthrough.py ROOT MOUNTPOINT [LACK,...]

It stays in the foreground until it is unmounted. What it can lack:
  zero      every file tells a size of 0, as those of /proc do, and has its content all the same
  noexch    no exchange and no RENAME_NOREPLACE; FUSE 2 never has them
  noblocks  every file tells that it takes nothing of the disk
  nodir     fsync of a directory fails
  small=N   a file takes no more than N bytes: ENOSPC
  nolink    no hard links
  links=N   a file has no more than N names
  nosymlink no symbolic links
  noxattr   no extended attributes
  nochmod, nochown, notimes   refused, as on a share that maps all to one user
  statfs0   no figures of its space: 0 blocks of 0
"""
import errno
import os
import stat
import sys

from fuse import FUSE, FuseOSError, Operations

LACKS = dict(lack.partition("=")[::2] for lack in "".join(sys.argv[3:]).split(","))


def refuse(lack, error=errno.EPERM):
    if lack in LACKS:
        raise OSError(error, os.strerror(error))


class PassThrough(Operations):
    use_ns = True

    def __init__(self, root):
        self.root = root

    def __call__(self, operation, path, *arguments):
        if not hasattr(self, operation):
            raise FuseOSError(errno.ENOSYS)
        try:
            return getattr(self, operation)(self.root + path, *arguments)
        except OSError as error:
            raise FuseOSError(error.errno) from error

    def init(self, path):
        pass

    def destroy(self, path):
        pass

    def getattr(self, path, handle=None):
        found = os.fstat(handle) if handle else os.lstat(path)
        keys = "mode nlink size uid gid ino blocks rdev".split()
        told = {f"st_{key}": getattr(found, f"st_{key}") for key in keys}
        for key in ("atime", "mtime", "ctime"):
            told[f"st_{key}"] = getattr(found, f"st_{key}_ns")
        if "zero" in LACKS and stat.S_ISREG(found.st_mode):
            told["st_size"] = 0
        if "noblocks" in LACKS:
            told["st_blocks"] = 0
        return told

    def readdir(self, path, handle):
        return [".", ".."] + os.listdir(path)

    def readlink(self, path):
        return os.readlink(path)

    def mknod(self, path, mode, device):
        os.mknod(path, mode, device)

    def mkdir(self, path, mode):
        os.mkdir(path, mode)

    def rmdir(self, path):
        os.rmdir(path)

    def unlink(self, path):
        os.unlink(path)

    def symlink(self, path, target):
        refuse("nosymlink")
        os.symlink(target, path)

    def rename(self, path, to):
        os.rename(path, self.root + to)

    def link(self, path, first):
        refuse("nolink")
        if "links" in LACKS and os.lstat(self.root + first).st_nlink >= int(LACKS["links"]):
            refuse("links", errno.EMLINK)
        os.link(self.root + first, path, follow_symlinks=False)

    def chmod(self, path, mode):
        refuse("nochmod")
        os.chmod(path, mode)

    def chown(self, path, uid, gid):
        refuse("nochown")
        os.lchown(path, uid, gid)

    def utimens(self, path, times=None):
        refuse("notimes")
        os.utime(path, ns=times, follow_symlinks=False)

    def statfs(self, path):
        told = os.statvfs(self.root)
        keys = "bavail bfree blocks bsize favail ffree files frsize namemax".split()
        told = {f"f_{key}": getattr(told, f"f_{key}") for key in keys}
        if "statfs0" in LACKS:
            told.update(f_bavail=0, f_bfree=0, f_blocks=0, f_favail=0, f_ffree=0, f_files=0)
        return told

    def open(self, path, flags):
        return os.open(path, flags & ~os.O_NOFOLLOW)

    def create(self, path, mode, info=None):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def read(self, path, count, offset, handle):
        return os.pread(handle, count, offset)

    def write(self, path, content, offset, handle):
        if "small" in LACKS and offset + len(content) > int(LACKS["small"]):
            refuse("small", errno.ENOSPC)
        return os.pwrite(handle, content, offset)

    def truncate(self, path, length, handle=None):
        os.truncate(path, length)

    def flush(self, path, handle):
        pass

    def release(self, path, handle):
        os.close(handle)

    def fsync(self, path, is_data, handle):
        os.fsync(handle)

    def fsyncdir(self, path, is_data, handle):
        refuse("nodir", errno.EINVAL)

    def listxattr(self, path):
        refuse("noxattr", errno.ENOTSUP)
        return os.listxattr(path, follow_symlinks=False)

    def getxattr(self, path, name, position=0):
        refuse("noxattr", errno.ENOTSUP)
        return os.getxattr(path, name, follow_symlinks=False)

    def setxattr(self, path, name, value, options, position=0):
        refuse("noxattr", errno.ENOTSUP)
        os.setxattr(path, name, value, options, follow_symlinks=False)

    def removexattr(self, path, name):
        refuse("noxattr", errno.ENOTSUP)
        os.removexattr(path, name, follow_symlinks=False)


FUSE(
    PassThrough(os.path.realpath(sys.argv[1])),
    sys.argv[2],
    foreground=True,
    nothreads=True,
    allow_other=True,
    use_ino=True,
    direct_io="zero" in LACKS,
    encoding="utf-8",
)
