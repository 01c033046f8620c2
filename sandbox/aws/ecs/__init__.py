"""Amazon ECS on Fargate, emulated: a task is a process in the network of an emulated cluster."""
