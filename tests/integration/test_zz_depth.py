import re, time
from realtime.ownership import owned_by
from tests.sample_tasks import echo
from tests.wire import user, request, say, fresh_id
from realtime.core.jsontext import encode_result
def test_depth(service, people):
    out=[]
    for depth in range(300, 1000, 20):
        v=1
        for _ in range(depth): v=[v]
        with owned_by(user(people.bob.key)):
            try: t=echo.delay(v).id
            except BaseException as e: out.append((depth, "publish", type(e).__name__)); continue
        for _ in range(40):
            b=request(service,"GET",f"/realtime/tasks/{t}/",session=people.bob.session).body.decode()
            if '"SUCCESS"' in b or "FAILURE" in b: break
            time.sleep(.1)
        out.append((depth, re.findall(r'"state":"(\w+)"',b), 'truncated":true' in b,
           re.findall(r'"error":(.*?),"eta"', b),
           request(service,"GET","/",session=people.bob.session).code))
    print("\n".join(map(str,out)))
