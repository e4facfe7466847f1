"""What a proto declares about its methods, and the rules that all services share."""
