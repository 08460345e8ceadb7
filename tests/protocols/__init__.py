"""One folder of proofs per standard; each test is named by the id of the statement that it proves."""
