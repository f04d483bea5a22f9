"""Events as they are followed and saved, on real databases and servers."""
