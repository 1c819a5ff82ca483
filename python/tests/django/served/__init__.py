"""The site of the tests as servers run it, each in a process of its own."""
