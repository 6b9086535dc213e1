"""What every HTTP process shares: the app, its errors, its health, its request ids."""
