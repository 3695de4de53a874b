"""Settings of the migrate step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr

from migrations.rights import Role
from shared.service.settings import DatabaseSettings, secret_file


class MigrateSettings(DatabaseSettings):
    """The roles of the services in Postgres. DATABASE_URL is that of the owner of the tables."""

    gateway_role: str = Field(
        "millstream_gateway", min_length=1, max_length=63, description="role of the gateway, which is given its rights"
    )
    gateway_role_password: SecretStr | None = Field(
        None, description="the role of the gateway is made, or given this password; unset: you make it"
    )
    gateway_role_password_file: Path | None = secret_file("GATEWAY_ROLE_PASSWORD")
    persister_role: str = Field(
        "millstream_persister",
        min_length=1,
        max_length=63,
        description="role of the persister, which is given its rights",
    )
    persister_role_password: SecretStr | None = Field(
        None, description="the role of the persister is made, or given this password; unset: you make it"
    )
    persister_role_password_file: Path | None = secret_file("PERSISTER_ROLE_PASSWORD")

    @property
    def roles(self) -> Mapping[str, Role]:
        """The role of each service."""
        return {
            "gateway": Role(self.gateway_role, self.gateway_role_password),
            "persister": Role(self.persister_role, self.persister_role_password),
        }
