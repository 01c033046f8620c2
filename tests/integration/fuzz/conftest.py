"""The same world as the published table's tests have, built for this folder."""

from tests.integration.authorization.conftest import world as world
