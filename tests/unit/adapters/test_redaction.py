"""Nothing secret-shaped leaves an adapter in a message."""

from __future__ import annotations

import pytest

from controlplane.adapters.redaction import MASK, redact


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("The key AKIAIOSFODNN7EXAMPLE is unknown", "AKIAIOSFODNN7EXAMPLE"),
        ("session ASIAIOSFODNN7EXAMPLE ended", "ASIAIOSFODNN7EXAMPLE"),
        ("https://s3/x?X-Amz-Signature=deadbeef99&y=1", "deadbeef99"),
        ("https://s3/x?X-Amz-Security-Token=FwoGZXIvYXdz%2F&y=1", "FwoGZXIvYXdz"),
        ("token k8s-aws-v1.aHR0cHM6Ly9zdHM refused", "aHR0cHM6Ly9zdHM"),
        ("postgres://user:hunter2@db:5432/x failed", "hunter2"),
        ('password="hunter2" is wrong', "hunter2"),
        ("aws_secret_access_key = wJalrXUtnFEMI", "wJalrXUtnFEMI"),
        ("Authorization: Bearer eyJhbGciOi.abc.def", "eyJhbGciOi"),
        ("curl -H 'authorization: bearer eyJhbGciOi'", "eyJhbGciOi"),
        ("secret v1:AAAAAAAAAAAA:BBBBBBBBBBBB stays", "BBBBBBBBBBBB"),
        (
            "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----",
            "MC4CAQ",
        ),
    ],
)
def test_each_shape_of_a_secret_is_masked(text: str, secret: str) -> None:
    shown = redact(text)
    assert secret not in shown
    assert MASK in shown


def test_ordinary_words_stay_as_they_are() -> None:
    text = (
        "creating aws:ec2/vpc:Vpc 'vpc': ec2:CreateVpc failed with InvalidVpc.Range: "
        "The CIDR '10.0.0.0/8' is invalid (request 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed)"
    )
    assert redact(text) == text
