"""The modes of main.py."""
