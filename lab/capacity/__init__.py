"""Which limits a load meets, and which topology a peak needs: arithmetic, no kernel."""
