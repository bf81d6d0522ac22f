// Another frontend's start page asks for this file; there is nothing to add to it.
