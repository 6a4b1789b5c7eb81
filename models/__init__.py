"""Forest and carbon science on arrays and tables: no files, no catalogs, no workflow."""
