"""Curves as pictures, in the terminal and in files; matplotlib is imported only when a file is asked for."""
