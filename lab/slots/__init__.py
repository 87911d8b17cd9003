"""The limiter: sets of connection slots, their chains, counters and marks, as nft text and back."""
