"""Pictures made and changed for people: by which engine, as which job, and what becomes of them."""
