"""What the service reaches outside its database: the account service and the catalog file."""
