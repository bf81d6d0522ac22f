"""Tables and repositories, one file per aggregate. All SQL of the server is here."""
