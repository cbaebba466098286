"""The commands of `studygroup`, one module each: a function of its options."""
