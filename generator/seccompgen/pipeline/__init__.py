"""From policy files and tables to proved programs, and to the files that contain them."""
