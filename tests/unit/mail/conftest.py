import pytest

from actors.channels.email.render import Brand, Renderer


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(Brand("MovieApp", "tickets@movieapp.example.com"), "USD")
