"""The documentation's site: pages made from the code, and links that lead out of docs/."""
