"""What netfilter says of itself over netlink: nftables' counters and sets, tracked connections, logged packets."""
