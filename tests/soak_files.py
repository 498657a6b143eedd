"""A directory for soak.py that is changed at random and knows what is in it. Knows no backup."""

import hashlib
import os
import shutil
import stat

# A tree that has more entries gets smaller.
MANY = 80


class Tree:
    """A directory that is changed at random and knows what is in it: for each name its kind, and its mode
    and content or where it leads."""

    def __init__(self, root, rng, files=40):
        self.root, self.entries = root, {}
        root.mkdir(parents=True)
        for number in range(8):
            self.make_dir(f"dir{number}" if number < 5 else f"dir{number - 5}/below")
        for _ in range(files):
            self.edit(rng, "write")
        self.write_large(rng)

    def write_large(self, rng):
        """What most of the content is, and spans several members of an archive."""
        self.write("large", rng.randbytes(50_000) + bytes(1_500_000), 0o600)

    def make_dir(self, name):
        (self.root / name).mkdir()
        self.entries[name] = ("directory",)

    def write(self, name, content, mode):
        path = self.root / name
        path.write_bytes(content)
        path.chmod(mode)
        self.entries[name] = ("file", mode, hashlib.sha256(content).hexdigest())

    def remove(self, name):
        if self.entries.pop(name, None):
            (self.root / name).unlink()

    def names(self, kind):
        return [name for name, entry in self.entries.items() if entry[0] == kind]

    def edit(self, rng, how=None):
        """One random change. A file keeps its name for a while, so that it is found in several backups."""
        if len(self.entries) > MANY:
            how = "remove"
        how = how or rng.choice("write write write patch patch chmod remove link".split())
        files = [name for name in self.names("file") if name != "large"]
        name = f"{rng.choice(self.names('directory'))}/{rng.choice('abc')}{rng.randrange(30)}"
        if how == "write" or not files:
            self.remove(name)
            self.write(name, rng.randbytes(rng.choice((0, 10, 700, 5000))) * rng.choice((1, 4)), rng.choice((0o644, 0o600, 0o755)))
        elif how == "patch":
            name = rng.choice([*files, *(name for name in ["large"] if name in self.entries)])
            content = bytearray((self.root / name).read_bytes() or b"x")
            content[rng.randrange(len(content))] ^= 1
            self.write(name, bytes(content), self.entries[name][1])
        elif how == "chmod":
            name = rng.choice(files)
            self.write(name, (self.root / name).read_bytes(), rng.choice((0o640, 0o755)))
        elif how == "remove":
            self.remove(rng.choice(files))
        else:
            self.remove(name)
            target = rng.choice(files)
            (self.root / name).symlink_to(target)
            self.entries[name] = ("link", target)

    def snapshot(self):
        return dict(self.entries)


def look(root):
    """What a directory holds, as a tree knows it."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                entry = ("link", os.readlink(path))
            elif stat.S_ISDIR(mode):
                entry = ("directory",)
            else:
                with open(path, "rb") as file:
                    entry = ("file", stat.S_IMODE(mode), hashlib.sha256(file.read()).hexdigest())
            found[os.path.relpath(path, root)] = entry
    return found


def clear(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
