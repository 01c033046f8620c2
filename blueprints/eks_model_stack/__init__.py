"""The blueprint `eks-model-stack`: one security boundary on Amazon EKS, in two stacks.

`foundation` is the network, the key and the artifact bucket; `cluster` is EKS, its nodes and the
roles of its pods. They are apart because they live and die apart, and to keep states small.
"""
