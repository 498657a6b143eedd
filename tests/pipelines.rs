//! Lines in and out: bad input, readers that go away, what never happens on stdout.
