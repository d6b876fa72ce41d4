"""HTTP over search: a page to search by picture or words, and the same for programs. Imports nothing that trains."""
