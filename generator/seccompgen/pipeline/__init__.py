"""From policy files and tables to proved programs and the files that hold them."""
