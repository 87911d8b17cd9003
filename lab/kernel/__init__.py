"""All that touches the kernel: plans are applied and undone here, and what the kernel counts is read.

apply        each kind of kernel object → how it is made and taken back
netns        namespaces, and threads that live in them
rtnl         links, bridges, addresses, neighbours, routes, rules: by pyroute2, which nothing else opens
nft          rulesets: text, given to `nft`
netfilter    counters, sets, tracked connections and logged packets, by one netlink codec
packets      AF_PACKET sockets, rings and filters
processes    what lives in namespaces; `generator` for the traffic generator of a burst
state        what is remembered of a lab in /run/lab
sysctl       settings of a namespace, and the one of the whole machine
"""
