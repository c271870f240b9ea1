"""What died, is broken, old or left over: found, and put right."""
