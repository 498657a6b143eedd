//! Many programs at work on one store at once, or one after the other, each killed at some time.
