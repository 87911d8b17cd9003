"""Every number that AWS publishes and the lab enforces, and every choice where AWS publishes none.

A comment without a source says that it is the lab's own choice, and why.
"""

from __future__ import annotations

from ipaddress import IPv4Network

__all__ = [
    "ACL_ENTRIES",
    "ACL_RULE_NUMBERS",
    "ADDRESSES_EACH",
    "BEHIND_ENDPOINTS",
    "BLOCK_PREFIXES",
    "CLIENT_ADDRESSES",
    "EIP_POOL",
    "ENDPOINT_CONNECTIONS_PER_TARGET",
    "ENDPOINT_IDLE_TIMEOUT_S",
    "ENI_CONNECTIONS",
    "ENI_IDLE_TIMEOUT_S",
    "ENI_SCALING_DEFAULT",
    "ENI_SCALING_MOST",
    "ENVIRONMENT_BLOCK",
    "ENVIRONMENT_DESCRIPTORS",
    "EPHEMERAL_PORTS",
    "FUNCTION_SECURITY_GROUPS",
    "FUNCTION_SUBNETS",
    "HALF_OPEN_TIMEOUT_S",
    "INTERNET",
    "LOCAL_PORTS",
    "LONGEST_TIMEOUT_S",
    "NAT_CONNECTIONS_PER_DESTINATION",
    "NAT_DRAIN_TIMEOUT_S",
    "NAT_EIPS",
    "NAT_IDLE_TIMEOUT_S",
    "NODE_LOOK_UPS",
    "PAIRS",
    "PORT_HOLD_S",
    "PRIVATE",
    "RESERVED_CONCURRENCY",
    "RESERVED_SUBNET_ADDRESSES",
    "RESOLVER_PACKETS_PER_SECOND",
    "RESOLVER_TCP_CONNECTIONS",
    "RESOLVER_TTL_S",
    "SCALING_ENVIRONMENTS",
    "SCALING_PERIOD_S",
    "SERVER_ADDRESSES",
    "SERVER_CONNECTIONS",
    "SERVER_SECURITY_GROUPS",
    "SERVICE_VPC_CIDR",
    "SERVICE_VPC_HEAD",
    "SERVICE_VPC_PREFIXES",
    "TOTAL_EIPS",
]

# ── Hyperplane ENI ──────────────────────────────────────────────────────────────────────────────────────────

# "Each Hyperplane ENI supports up to 65,000 connections/ports."
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
ENI_CONNECTIONS = 65_000

# Not published. 350 s is what the other Hyperplane services do: NAT gateway (below) and Network Load Balancer
# (https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html).
ENI_IDLE_TIMEOUT_S = 350

# "If the number of connections exceeds this limit, Lambda scales the number of ENIs automatically based on network
# traffic and concurrency requirements" (same page as the 65,000). Neither how soon nor how far is published; the
# article that the lab reproduces saw ENIs that "did not scale to handle the bursts". The numbers are the lab's own:
# 8 ENIs for one subnet and security-group set carry 520,000 connections, more than one NAT gateway to one server.
ENI_SCALING_DEFAULT = 4
ENI_SCALING_MOST = 8

# A VpcConfig has at most 5 items in SecurityGroupIds and 16 in SubnetIds.
# https://docs.aws.amazon.com/lambda/latest/api/API_VpcConfig.html
FUNCTION_SECURITY_GROUPS = 5
FUNCTION_SUBNETS = 16

# "The scaling rate … is 1,000 execution environment instances every 10 seconds", for each function, refilled
# continuously. https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html
SCALING_ENVIRONMENTS = 1_000
SCALING_PERIOD_S = 10

# An account has 1,000 concurrent executions by default, which can be raised "to tens of thousands"; the most is the
# lab's own choice. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
RESERVED_CONCURRENCY = 1_000_000

# File descriptors of an execution environment: 1,024.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ENVIRONMENT_DESCRIPTORS = 1_024

# How many of them are open before the function's first connection is not published. Every process has standard input,
# output and error, and a program in Python no more; one that runs asyncio has 6 (an epoll, a pair of sockets), Node 20
# has 17 (epolls, eventfds, pipes; counted in /proc/PID/fd). What the runtime itself keeps open comes on top.
DESCRIPTORS_AT_START = 3

# Linux lets no process have more, unless fs.nr_open is raised (https://docs.kernel.org/admin-guide/sysctl/fs.html).
DESCRIPTORS_MOST = 1_048_576

# ── Clients that are no function ────────────────────────────────────────────────────────────────────────────

# "net.ipv4.ip_local_port_range … Default: 32768 60999", both included: 28,232 ports for each of a host's addresses.
# https://docs.kernel.org/networking/ip-sysctl.html
LOCAL_PORTS = range(32_768, 61_000)

# The most private IPv4 addresses of a network interface of an EC2 instance: 50, of the large instance types.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/AvailableIpPerENI.html
CLIENT_ADDRESSES = 50

# The lab's own: each address of a client is one for real sockets, and one for connections whose TCP is the packet
# engine's, of which no kernel knows the ports.
ADDRESSES_EACH = 2

# ── Servers in a VPC ────────────────────────────────────────────────────────────────────────────────────────

# "Security groups per network interface: 5" is the default quota.
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
SERVER_SECURITY_GROUPS = 5

# ── NAT gateway ─────────────────────────────────────────────────────────────────────────────────────────────

# "Each IPv4 address can support up to 55,000 simultaneous connections to each unique destination", which is a
# "unique combination of destination IP address, the destination port, and protocol".
# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-nat-gateway.html
#
# It is also the most that a topology may ask for. The NAT gateway draws from ports 1024-65535 (same page),
# and the kernel (net/netfilter/nf_nat_core.c) gives up its search after some 250 probes, long before all are
# taken: measured, the first connection that found none in a pool of 65,000 was number 55,769. Beyond 55,000
# it would be the kernel, not the topology, that sets the limit.
NAT_CONNECTIONS_PER_DESTINATION = 55_000

# 1 primary and up to 7 secondary addresses: "up to 440,000 concurrent connections to a unique destination".
# https://aws.amazon.com/blogs/networking-and-content-delivery/attach-multiple-ips-to-a-nat-gateway-to-scale-your-egress-traffic-pattern/
NAT_EIPS = 8

# "If a connection that's using a NAT gateway is idle for 350 seconds or more, the connection times out."
# https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
NAT_IDLE_TIMEOUT_S = 350

# MaxDrainDurationSeconds, "the maximum amount of time to wait … before forcibly releasing the IP addresses if
# connections are still in progress. Default value is 350 seconds."
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateNatGatewayAddress.html
NAT_DRAIN_TIMEOUT_S = 350

# ── Interface endpoint ──────────────────────────────────────────────────────────────────────────────────────

# Of load balancers: "55,000 simultaneous connections or about 55,000 connections per minute to each unique target"
# for a Network Load Balancer that is reached through PrivateLink; a knob, for AWS says nothing of the endpoint itself.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-target-groups.html
ENDPOINT_CONNECTIONS_PER_TARGET = 55_000

# A Network Load Balancer's TCP idle timeout, 350 s unless configured.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html
ENDPOINT_IDLE_TIMEOUT_S = 350

# ── Both ────────────────────────────────────────────────────────────────────────────────────────────────────

# Not published. Linux waits 120 s for the answer to a SYN (nf_conntrack_tcp_timeout_syn_sent,
# https://docs.kernel.org/networking/nf_conntrack-sysctl.html), and the lab's tracker is Linux'.
HALF_OPEN_TIMEOUT_S = 120

# Not published. Until 2023 the NAT gateway's page named "about 900 connections per second to a single
# destination" (awsdocs/amazon-vpc-user-guide, removed 2023-04-06), which hints at 60 s; the article that the
# lab reproduces needs no hold:
# https://www.gomomento.com/blog/how-to-fix-connection-timeout-issues-with-aws-lambda-in-vpcs
PORT_HOLD_S = 0

# Five days: what Linux itself gives an idle connection (nf_conntrack_tcp_timeout_established, same page).
LONGEST_TIMEOUT_S = 432_000

# ── Security groups and network ACLs ────────────────────────────────────────────────────────────────────────

# "Each rule has a number from 1 to 32766."
# https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html
ACL_RULE_NUMBERS = range(1, 32_767)

# Rules per network ACL, in each direction: 20, "up to a maximum of 40".
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
ACL_ENTRIES = 40

# "AWS Lambda functions use ports 1024-65535", and so does a NAT gateway.
# https://docs.aws.amazon.com/vpc/latest/userguide/nacl-ephemeral-ports.html
EPHEMERAL_PORTS = range(1024, 65_536)

# ── VPCs and addresses ──────────────────────────────────────────────────────────────────────────────────────

# "The allowed block size is between a /16 netmask … and /28 netmask", for a VPC and for a subnet.
# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
# https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
BLOCK_PREFIXES = range(16, 29)

# "The first four IP addresses and the last IP address in each subnet CIDR block are not available".
# https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
RESERVED_SUBNET_ADDRESSES = 5

# The largest max_connections of MySQL, whose default is 151.
# https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_max_connections
SERVER_CONNECTIONS = 100_000

# Multivalue answer routing: "up to eight healthy records selected at random".
# https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/routing-policy-multivalue.html
SERVER_ADDRESSES = 8

# The shared address space of RFC 6598, made for networks behind a NAT that is not the customer's.
SERVICE_VPC_CIDR = IPv4Network("100.64.0.0/10")

# The lab's own layout: the service VPC's first 65,536 addresses are for its nodes, then each (function, ENI)
# pair owns one block of environment addresses. A /16 is therefore always too small; a /15 holds 8 pairs.
SERVICE_VPC_HEAD = 65_536
ENVIRONMENT_BLOCK = 8_192
SERVICE_VPC_PREFIXES = range(8, 16)
# Each of them has a port and an address in the head; more would be a hundred namespaces beyond any lesson.
PAIRS = 250

# Elastic IPs come from TEST-NET-2 (RFC 5737), which no real destination bears.
EIP_POOL = IPv4Network("198.51.100.0/24")
TOTAL_EIPS = 250
# TEST-NET-1 (RFC 5737): the internet router between NAT gateways and servers.
INTERNET = IPv4Network("192.0.2.0/24")
# RFC 1918: what no route on the internet leads to.
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))

# What servers see in place of a VPC's addresses behind endpoints, a /16 for each network interface: the reserved
# addresses of RFC 1112, section 4, which no host has, and which Linux forwards.
BEHIND_ENDPOINTS = IPv4Network("240.0.0.0/6")

# The lab's own choice; Route 53's alias records of load balancers have the same 60 seconds.
# https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html
RESOLVER_TTL_S = 60

# "1024 packets per second per network interface", a quota that cannot be raised.
# https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
# In a lab no quota is the default: questions come from the execution environments' own interfaces, 100 at most from
# each, and how AWS counts those of a Lambda function is not documented.
RESOLVER_PACKETS_PER_SECOND = 1_024

# "A maximum of 20 concurrent TCP connections for DNS resolution", of Lambda functions.
# https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-networking.html
RESOLVER_TCP_CONNECTIONS = 20

# "Because getaddrinfo is not asynchronous, libuv's threadpool … its size is 4 by default" (UV_THREADPOOL_SIZE).
# https://nodejs.org/api/dns.html#implementation-considerations, https://docs.libuv.org/en/v1.x/threadpool.html
NODE_LOOK_UPS = 4
