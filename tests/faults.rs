//! Full disks, signals and crashes: nothing acknowledged is lost, and the next program tidies.
