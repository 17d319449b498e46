"""Who owns the tasks that a request starts."""

import asyncio
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.http import JsonResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path

from realtime import owned_by, owner_topic
from realtime.middleware import OwnerMiddleware
from realtime.ownership import current_owner, owner_of_user


def show_owner(request):
    """Answer with the owner of a task that would be published now."""
    return JsonResponse({"owner": current_owner()})


async def show_owner_async(request):
    return JsonResponse({"owner": current_owner()})


async def show_owner_of_threads_and_tasks(request):
    in_thread = asyncio.to_thread(current_owner)
    in_task = asyncio.create_task(show_owner_async(request))
    await in_task
    return JsonResponse({"owner": await in_thread})


def show_nothing(request):
    return JsonResponse({})


def show_other_owners(request):
    with owned_by(SimpleNamespace(is_authenticated=True, pk=5)):
        inside = current_owner()
    with owned_by(None):
        nobodys = current_owner()
    return JsonResponse({"owner": inside, "nobodys": nobodys, "after": current_owner()})


def show_topic(request):
    return JsonResponse({"topic": owner_topic(request), "owner": current_owner()})


urlpatterns = [
    path("sync/", show_owner),
    path("async/", show_owner_async),
    path("threads/", show_owner_of_threads_and_tasks),
    path("nothing/", show_nothing),
    path("another/", show_other_owners),
    path("topic/", show_topic),
]

STACK = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "realtime.middleware.OwnerMiddleware",
]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _site():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=STACK, ALLOWED_HOSTS=["testserver"]):
        yield


class UnderWSGI:
    """Sends requests as under WSGI."""

    def __init__(self):
        self.client = Client()

    async def sign_in(self, user):
        await asyncio.to_thread(self.client.force_login, user)

    async def get(self, address):
        return await asyncio.to_thread(self.client.get, address)

    @property
    def cookies(self):
        return self.client.cookies


class UnderASGI:
    """Sends requests as under Daphne."""

    def __init__(self):
        self.client = AsyncClient()

    async def sign_in(self, user):
        await self.client.aforce_login(user)

    async def get(self, address):
        return await self.client.get(address)

    @property
    def cookies(self):
        return self.client.cookies


@pytest.fixture(params=[UnderWSGI, UnderASGI])
def site(request):
    return request.param()


VIEWS = pytest.mark.parametrize("address", ["/sync/", "/async/", "/threads/"])


@VIEWS
async def test_a_signed_in_user_owns_the_tasks_of_a_request(site, address):
    user = await User.objects.acreate(username="alice")
    await site.sign_in(user)
    answer = await site.get(address)
    assert answer.json() == {"owner": str(user.pk)}


@VIEWS
async def test_a_visitor_owns_tasks_by_an_id_in_the_session(site, address):
    first, second = [(await site.get(address)).json()["owner"] for _ in range(2)]
    assert first.startswith("visitor-")
    assert len(first) >= 24
    assert second == first


async def test_two_visitors_are_two_owners():
    owners = {(await UnderASGI().get("/async/")).json()["owner"] for _ in range(2)}
    assert len(owners) == 2


@VIEWS
async def test_a_deleted_user_is_a_visitor(site, address):
    user = await User.objects.acreate(username="alice")
    await site.sign_in(user)
    await user.adelete()
    assert (await site.get(address)).json()["owner"].startswith("visitor-")


async def test_a_visitor_who_starts_no_task_gets_no_session(site):
    answer = await site.get("/nothing/")
    assert not answer.cookies
    assert "Cookie" not in answer.headers.get("Vary", "")


async def test_owned_by_replaces_the_owner_inside(site):
    user = await User.objects.acreate(username="alice")
    await site.sign_in(user)
    answer = (await site.get("/another/")).json()
    assert answer == {"owner": "5", "nobodys": "", "after": str(user.pk)}


async def test_a_page_has_the_topic_of_the_tasks_of_its_visitor(site):
    answer = (await site.get("/topic/")).json()
    assert answer["topic"] == f"user:{answer['owner']}"


def test_without_sessions_a_visitors_tasks_belong_to_nobody():
    assert OwnerMiddleware(show_owner)(RequestFactory().get("/")).content == b'{"owner": ""}'


async def test_without_sessions_an_async_view_works_too():
    request = RequestFactory().get("/")
    assert (await OwnerMiddleware(show_owner_async)(request)).content == b'{"owner": ""}'


def test_outside_of_a_request_there_is_no_owner():
    OwnerMiddleware(show_owner)(RequestFactory().get("/"))
    assert current_owner() is None


def test_a_failed_request_leaves_no_owner_behind():
    def fail(request):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        OwnerMiddleware(fail)(RequestFactory().get("/"))
    assert current_owner() is None


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        (7, "7"),
        ("8d1f-a.b_c", "8d1f-a.b_c"),
        ("x" * 255, "x" * 255),
        ("a:b", "a:b"),
        ("a b", "a b"),
        ("\u00e4", "\u00e4"),
    ],
)
def test_a_primary_key_that_fits_into_a_topic_is_the_owner(key, owner):
    assert owner_of_user(SimpleNamespace(is_authenticated=True, pk=key)) == owner


@pytest.mark.parametrize(
    "key", ["", "me", "visitor-1", "sha256-1", "x" * 256, "a\n", "\u2028", "\ud800"]
)
def test_any_other_primary_key_is_hashed(key):
    owner = owner_of_user(SimpleNamespace(is_authenticated=True, pk=key))
    assert owner.startswith("sha256-")
    assert len(owner) == 71


def test_an_anonymous_user_is_nobody():
    assert owner_of_user(None) == ""
    assert owner_of_user(SimpleNamespace(is_authenticated=False, pk=7)) == ""
