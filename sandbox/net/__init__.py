"""The network inside an emulated cluster: routed veths, Services and NetworkPolicies by nft."""
