"""What the service reaches outside its database: payment providers, key files, password hashing."""
