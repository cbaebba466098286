"""A campaign of attacks on the whole program: `make campaign`. It is no part of the tests, and takes half an hour."""
