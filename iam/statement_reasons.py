"""What each statement of the template is for, in a sentence for the person who approves it.

Read by the control plane beside `action_evidence`. By part and statement, because one action may be
in several statements for several reasons.
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[tuple[str, str], str] = {
    ("permissions", "ReadAccount"): "Look before spending: AWS cannot narrow these reads.",
    ("permissions", "ReadRoles"): "Read the roles of this boundary, to compare and to count.",
    ("permissions", "ReadPolicies"): "Read the policies that those roles carry.",
    ("permissions", "CreateNetwork"): "Make the network, with the boundary's tag on each part.",
    ("permissions", "CreateInsideOurs"): "Make parts only inside a network of this boundary.",
    ("permissions", "TagAtCreation"): "Set the boundary's tag while a part is made, not later.",
    ("permissions", "ChangeNetwork"): "Change and delete only what has this boundary's tag.",
    ("permissions", "Bucket"): "One bucket by its name, in your account, for models and evidence.",
    ("permissions", "Artifacts"): "Put model files into that bucket, and take them away again.",
    ("permissions", "CreateKey"): "Make one key, tagged as this boundary's.",
    ("permissions", "UseKey"): "Use and administer only the key that has this boundary's tag.",
    ("permissions", "Alias"): "Give that key its name.",
    ("permissions", "KeyForService"): "Let AWS services, and nobody else, use that key.",
    ("permissions", "Cluster"): "Make and run the one cluster of this boundary, by its name.",
    ("permissions", "SeeHost"): "In another boundary's cluster: see where it is and who is in it.",
    ("permissions", "EnterHost"): "Let our runner in, as the one group that the host has let in.",
    ("permissions", "LeaveHost"): "Take that entry away; no other entry can be touched.",
    ("permissions", "GivePodsRoles"): "Say which of this boundary's pods uses which of its roles.",
    ("permissions", "TagAssociations"): "Set this boundary's tag while that is said.",
    ("permissions", "SeeAssociations"): "See whether it is still so.",
    ("permissions", "OwnAssociations"): "Change and take back only what has this boundary's tag.",
    ("permissions", "ServiceLinkedRoles"): "Let EKS make its own roles in an account without them.",
    ("permissions", "CreatePodRoles"): "Make roles for nodes and pods, under your policy's limit.",
    ("permissions", "ChangePodRoles"): "Change and delete those roles, under their path only.",
    ("permissions", "PassPodRoles"): "Hand those roles to EKS and EC2, to nobody else.",
    (
        "permissions",
        "PassCloser",
    ): "Hand the closer to the agent's pod, so that it ends our access.",
    ("permissions", "TakeOwnPower"): "Deny ourselves everything at the close.",
    ("permissions", "NoSelfChange"): "We cannot change our own role, its policies or the closer.",
    ("permissions", "OnlyDenyAllOnSelf"): "On our own role we can attach the deny-all policy only.",
    ("permissions", "NoSharingOutward"): "Nothing may be shared with, or opened to, the outside.",
    ("permissions", "NeverForgeTheAgentsKey"): "The agent's key and the audit cannot come from us.",
    ("permissions", "KeepBoundaryTag"): "Nothing may be tagged as another boundary's.",
    ("permissions", "NeverRemoveBoundaryTag"): "The boundary's tag cannot be taken off.",
    ("permissions", "DefineRunner"): "Without a public endpoint: say what our runner is.",
    ("permissions", "RunRunner"): "Start our runner, in this boundary's own ECS cluster.",
    ("permissions", "EndRunner"): "See our runner, stop it, and leave nothing of it behind.",
    ("permissions", "ListRunners"): "See that none of our runners is left.",
    (
        "permissions",
        "ForgetRunner",
    ): "Take the runner's definition away; AWS cannot narrow this to ours.",
    ("permissions", "TagRunner"): "Set the boundary's tag while the runner's parts are made.",
    ("permissions", "PassRunnerRoles"): "Give the runner its two roles, and no task any other.",
    (
        "permissions",
        "RunnerServiceLinkedRole",
    ): "Let ECS make its own role in an account without one.",
    ("permissions", "MakeRepositories"): "Where images are copied: make this boundary's places.",
    ("permissions", "KeepRepositories"): "Keep and remove those repositories, by their name.",
    ("permissions", "SeeRepositories"): "See that none of them is left; AWS cannot narrow a list.",
    ("permissions", "CopyImages"): "Put our images there, and see that they arrived unchanged.",
    (
        "permissions",
        "EnterRegistry",
    ): "Sign in to your registry; AWS cannot narrow it, and it adds no power.",
    ("permissions", "KeepRepositoryTag"): "No repository may be tagged as another boundary's.",
    ("permissions", "NeverRemoveRepositoryTag"): "A repository's boundary tag cannot be taken off.",
    ("trust", "Assume"): "Our one role, with our External ID, for a named person, until the end.",
    ("trust", "NameThePerson"): "Your trail names the person behind each session.",
    ("trust", "TagThisBoundaryOnly"): "A session carries this boundary's tag and no other.",
    ("boundary", "NodesAndCluster"): "What nodes and the cluster themselves need to run.",
    ("boundary", "BoundaryData"): "Pods reach the boundary's own bucket only.",
    ("boundary", "BoundaryKey"): "Pods use the boundary's own key only.",
    ("boundary", "NoSharingOutward"): "No pod shares outward, makes roles or assumes others.",
    ("closer", "RemoveOwnRole"): "The agent strips and deletes our role at the close.",
    ("closer", "ReadPins"): "The agent checks our keys against your pins before it enrols.",
    ("closer", "PublishAgentKey"): "The agent leaves its public key where you can read it.",
    (
        "closer",
        "AnchorCheckpoints",
    ): "The agent keeps the audit's checkpoints in your bucket, once.",
    ("closer", "ReadCheckpoints"): "The agent reads back the checkpoint that the next follows.",
    ("closer", "EncryptAgentKey"): "Both are encrypted with the boundary's key.",
    ("closer-trust", "AgentOnly"): "Only the agent's own pod in the cluster can use the closer.",
}
