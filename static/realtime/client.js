/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
function l(o){typeof globalThis.reportError=="function"?globalThis.reportError(o):console.error(o)}var c=class{#t=new Set;add(t,e){
let s={handler:t,isReady:!1};return this.#t.add(s),queueMicrotask(()=>{s.isReady=!0;for(let i of[...e()])
this.#e(s,i)}),()=>{this.#t.delete(s)}}emit(t){for(let e of[...this.#t])e.isReady&&this.#e(e,t)}clear(){
this.#t.clear()}#e(t,e){if(this.#t.has(t))try{t.handler(e)}catch(s){l(s)}}};var g=class{#t;#e;#s=[];#i=.8*10;#n=.8*50;#o=0;#h=0;#r=null;constructor(t,e){this.#t=t,this.#e=e}start({
frames_per_second:t=10,frame_burst:e=50}){this.#i=.8*t,this.#n=Math.max(1,Math.floor(.8*e)),this.#o=
this.#n,this.#h=this.#t.now()}clear(){this.#s=[],this.#t.clearTimeout(this.#r),this.#r=null}push(t){
this.#s.push(t),this.#r===null&&this.#u()}pushNow(t){this.#c(),this.#o-=1,this.#e(t)}#c(){let t=this.#t.
now(),e=(t-this.#h)/1e3*this.#i;this.#o=Math.min(this.#n,this.#o+e),this.#h=t}#u(){for(this.#c();this.#o>=
1&&this.#s.length>0;)this.#o-=1,this.#e(this.#s.shift());if(this.#s.length===0)return;let t=Math.ceil(
(1-this.#o)/this.#i*1e3);this.#r=this.#t.setTimeout(()=>{this.#r=null,this.#u()},t)}};var B=500,G=2e4,J=15e3,V=1e3,X=1e4,Y=1e3,I=1e4,k=3e3,W=9e4,Z=2,Q=8,D=1012,tt=1013,y=1006,et=4501,U=[
"online","pageshow","resume","visibilitychange"],st="updates are delayed: the server cannot reach it\
s store",it="paused while the page is not shown";function d(o,t){return t()*Math.min(G,B*2**o)}function nt(o){
return o===1e3||o>=4500&&o<=4999}var S=class{state={state:"disconnected",reason:"",code:null,delayed:!1};welcome={
type:"welcome"};#t;#e;#s;#i;#n=null;#o=null;#h=0;#r=0;#c=0;#u="";#l=!1;#f=!1;#a=0;#d=0;#p=0;#g=0;#w=!1;#k=0;#m=null;#y="";#S="";constructor(t,e,s){
this.#t=t,this.#e=e,this.#s=s,this.#i=new g(e,i=>this.#n?.send(i))}open(){if(this.state.state!=="dis\
connected")return;let{events:t}=this.#e;for(let e of U)t.addEventListener(e,this.#L);t.addEventListener(
"pagehide",this.#W),this.#E("connecting","",null),this.#v()}#v(){if(this.state.state==="disconnected"||
this.#n!==null)return;this.#m=null,this.#y="",this.#l=!1,this.#d=this.#e.now();let t;try{t=new this.#e.
WebSocket(this.#t)}catch(e){this.#N(String(e),null);return}this.#n=t,t.onmessage=({data:e})=>{t===this.#n&&
this.#A(e)},t.onclose=({code:e,reason:s})=>{t===this.#n&&this.#R(e,s)},this.#T(I,()=>this.#R(y,"no a\
nswer"))}close(t){this.#_(1e3),this.#N(t,null)}get serverNow(){let{now:t,wallClock:e}=this.#e,s=Date.
parse(this.welcome.now);return Number.isNaN(s)?e():s+t()-this.#p}send(t){let e=++this.#k;return this.#i.
push(JSON.stringify({...t,id:e})),e}#A(t){this.#g=this.#e.now(),this.#w=!1;let e=ot(t);switch(e.type){case"":case"\
pong":break;case"welcome":this.#b(e);break;case"store":this.#U(e.available!==!1);break;case"closing":
this.#m=e,this.#T(I,()=>this.#R(y,""));break;default:if(e.type==="error"&&this.state.state!=="connec\
ted"){this.#y=e.message;return}try{this.#s.frame(e)}catch(s){l(s)}}}#b(t){let e=this.#e.now();this.welcome=
t,this.#a=(t.ping??25)*1e3,this.#p=e,this.#S="",this.#i.start(t.limits??{}),this.#x(this.#a),this.#E(
"connected","",null)}#U(t){this.state.state==="connected"&&this.#E("connected",t?"":st,null,!t)}#x(t){
let{now:e,wallClock:s}=this.#e,i=e()+t,n=s()+t;this.#T(t,()=>{let r=e()-i,h=e()-this.#g;r>W?this.#R(
y,"was asleep"):this.#w?this.#R(y,"no answer"):s()-n-r>W?this.#I(k):h>=this.#a?this.#I(I):this.#x(this.#a-
h)})}#I(t){this.#w=!0,this.#i.pushNow(JSON.stringify({type:"ping",id:++this.#k})),this.#x(t)}#L=({type:t})=>{
if(globalThis.document?.visibilityState==="hidden"&&!this.#f)return;let{now:e,random:s}=this.#e;if(this.#n===
null){if(this.#l)return;t!=="online"||this.#f?this.#M():this.#P(s()*V)}else if(this.state.state!=="c\
onnected"){if(e()-this.#d<=k)return;this.#_(),this.#M()}else this.#m===null&&(this.#w?this.#P(k):this.#I(
k))};#M(){this.#f=!1,this.#T(0,null),this.#v()}#P(t){this.#C!==null&&this.#e.now()+t<this.#h&&this.#T(
t,this.#C)}#W=({persisted:t})=>{!t||this.state.state==="disconnected"||(this.#_(1e3),this.#f=!0,this.#l=
!1,this.#E("connecting",it,null))};#R(t,e){let s=this.#e.now(),i=this.state.state==="connected",n=s-
this.#p,r=this.#m;if(r!==null&&(t=r.code,e=r.message),e=this.#y||e||"connection lost",this.#_(),typeof r?.
reconnect=="boolean"?!r.reconnect:nt(t)){if(this.#N(e,t),t===et)return;this.#O(`${e} (${t}). Nothing\
 is tried until something is subscribed to.`);return}if(!this.#s.isWanted()){this.#N("",null);return}
i&&n>=Y?(this.#c=0,this.#u=""):this.#c+=1,i&&n>=X&&(this.#r=0),this.#D(t,r?.retry_after),t===tt&&this.#O(
`${e} (${t}). Trying again.`),this.#E("connecting",this.#u||e,t),this.#c%Q===Z&&r===null&&this.#F(t)}#D(t,e){
let{random:s}=this.#e,i=d(this.#r++,s);typeof e=="number"?i=(e+s())*1e3:t===D&&(i=s()*J),this.#l=typeof e==
"number"||t===D,this.#T(i,()=>this.#v())}async#F(t){let{reason:e,retryAfter:s}=await this.#s.diagnose();
this.state.state!=="connecting"||this.#c===0||(this.#u=e,s!==null&&this.#n===null&&this.#D(t,s),this.#O(
`no connection: ${e}. Trying again.`),this.#E("connecting",e,this.state.code))}#O(t){t!==this.#S&&(this.#S=
t,this.#e.warn(`realtime: ${t}`))}#_(t){let e=this.#n;this.#n=null,this.#w=!1,this.#i.clear(),this.#T(
0,null),e?.close(t)}#N(t,e){let{events:s}=this.#e;for(let i of U)s.removeEventListener(i,this.#L);s.
removeEventListener("pagehide",this.#W),this.#f=!1,this.#c=0,this.#u="",this.#E("disconnected",t,e)}#C=null;#T(t,e){
let{now:s,setTimeout:i,clearTimeout:n}=this.#e;n(this.#o),this.#C=e,this.#h=s()+t,this.#o=e===null?null:
i(e,t)}#E(t,e,s,i=!1){let n=this.state;this.state={state:t,reason:e,code:s,delayed:i},(t!==n.state||
e!==n.reason)&&this.#s.state(this.state)}};function ot(o){try{let t=JSON.parse(o);if(typeof t?.type==
"string")return t}catch{}return{type:""}}var a=class extends Error{name="RealtimeError";constructor(t,e,s=null){super(e),this.code=t,this.retryAfter=
s}};var rt=1e4,F=128,$="signing in is needed: another page answered instead of the service",T=class{#t;#e;canRenew;constructor(t,e){
this.#t=e;let{location:s,config:i}=e,n=new URL(t);n.protocol=n.protocol.replace("ws","http"),this.canRenew=
s!==void 0&&new URL(s).origin===n.origin;let r=i.socket!==void 0&&i.http!==void 0&&s!==void 0&&new URL(
i.socket,s).pathname===n.pathname,h=n.pathname.endsWith("/")?"..":".";this.#e=new URL(r?i.http:h,n)}url(t){
return new URL(t,this.#e).href}async requestToken(t){let{csrf_header:e="X-CSRFToken"}=this.#t.config,
s=await this.#s("tokens/",{method:"POST",headers:{Accept:"application/json","Content-Type":"applicat\
ion/json",[e]:this.#i()},body:JSON.stringify({topics:t})});if(q(s))throw new a("unauthorized",$);let i=await s.
json();if(s.ok){let h=new Set(Object.values(i.refused??[]).map(ht));return{token:i.token??"",refused:h}}
let{code:n="internal",message:r=`HTTP ${s.status}`}=i.error??{};throw s.status>=500||s.status===429?
new Error(r):new a(n,r)}async diagnose(){let{location:t}=this.#t,e={Accept:"application/json"};this.
canRenew&&t&&(e["X-Realtime-Origin"]=new URL(t).origin);let s;try{s=await this.#s("ws/",{headers:e})}catch{
return{reason:"the server cannot be reached",retryAfter:null}}let i=Number(s.headers.get("Retry-Afte\
r")??NaN);return{reason:await at(s),retryAfter:i>=0?i:null}}async#s(t,e){let s=new AbortController,i=this.#t.
setTimeout(()=>s.abort(),rt);try{return await this.#t.fetch(this.url(t),{credentials:"same-origin",cache:"\
no-store",signal:s.signal,...e})}finally{this.#t.clearTimeout(i)}}#i(){let{csrf_cookie:t="csrftoken",
csrf_token:e}=this.#t.config,{document:s}=globalThis;for(let n of s?.cookie.split("; ")??[])if(n.startsWith(
`${t}=`))return n.slice(t.length+1);return e||(s?.querySelector("input[name=csrfmiddlewaretoken]")?.
value??"")}};function ht(o){return typeof o=="string"?o:o.topic}function q(o){let t=o.headers.get("C\
ontent-Type")??"";return o.redirected||o.ok&&t.includes("html")}async function at(o){let{status:t}=o;
return q(o)||t===401?$:o.ok||t===426?"the server is there, but no WebSocket reaches it: a proxy does\
 not pass them on":`${(await o.json().catch(()=>({})))?.error?.message??ct[t]??"the server refuses W\
ebSockets"} (${t})`}var ct={403:"the server refuses this page",404:"there is no such service at this\
 address",502:"the server cannot be reached",503:"the server cannot serve now",504:"the server does \
not answer"};function j(o,t,e=0){return o===null||t.epoch!==o.epoch?"gap":t.offset<=o.offset?"drop":t.offset-e<=o.
offset+1?"deliver":"gap"}var lt=new Set(["SUCCESS","FAILURE","REVOKED","LOST"]),z=1e3,ut=1e3;function f(o){return lt.has(o.state)}
function E(o,t){return o.published_at!==null&&t.published_at!==null&&t.published_at>o.published_at}function ft(o,t){
return f(o)&&o.state===t.state&&o.run===t.run&&o.attempt===t.attempt&&!E(o,t)}var b=class{position=null;tasks=new Map;total=0;next=null;#t=new Map;#e=new Map;#s=new Set;#i=null;#n=!1;#o=[];#h;constructor(t){
this.#h=t.startsWith("task:")?t.slice(5):null}get task(){return this.#h===null?null:this.tasks.get(this.#h)??
null}pause(){this.#n=!1,this.#o=[]}subscribed(t){let{epoch:e,offset:s,recovered:i,events:n=[],snapshot:r=[]}=t,
h={news:[],replaced:!1,gap:!1};if(this.#n=!0,i){this.total=t.total??this.total;for(let x of n)this.#r(
{epoch:e,...x},h);(this.position?.epoch!==e||this.position.offset<s)&&(this.position=null,this.#n=!1,
h.gap=!0)}else this.#c({...t,snapshot:r},h);let u=this.#o;this.#o=[];for(let x of u)this.#r(x,h);return this.#n||
(this.#o=[]),h}snapshot(t){let e={news:[],replaced:!1,gap:!1};return this.#c(t,e),e}event(t){let e={
news:[],replaced:!1,gap:!1};return this.#r(t,e),e}page({snapshot:t,next:e=null}){let s={news:[],replaced:!1,
gap:!1};this.next=e;for(let i of t)this.#l(i)||(this.#f(i,s),this.#s.add(i.task_id));return s}#r(t,e){
if(!this.#n){this.#o.push(t),this.#o.length>ut&&this.#o.shift();return}let{epoch:s,offset:i,merged:n,
status:r}=t;switch(j(this.position,{epoch:s,offset:i},n)){case"deliver":if(this.position={epoch:s,offset:i},
this.#s.has(r.task_id)&&this.#l(r))return;this.#f(r,e);break;case"gap":this.#n=!1,this.#o.push(t),e.
gap=!0;break}}#c({epoch:t,offset:e,snapshot:s,total:i=0,next:n=null},r){let h=this.task;this.#h===null?
this.#u(s,n):s.length===0&&h!==null&&!f(h)&&this.#a(h.task_id),(t!==this.#i||e<(this.position?.offset??
0))&&(this.#t.clear(),this.#i=t),this.position={epoch:t,offset:e},this.total=i,this.next=n,r.replaced=
!0;for(let u of s)this.#l(u)||this.#f(u,r)}#u(t,e){let s=new Set(t.map(n=>n.task_id)),i=e===null?void 0:
t.at(-1);for(let[n,r]of this.tasks){let h=i!==void 0&&E(r,i);!s.has(n)&&!h&&this.#a(n)}}#l(t){let e=t.
task_id,s=this.#t.get(e)??0;if(t.version>s)return!1;let i=this.tasks.get(e);return i===void 0||!E(i,
t)}#f(t,e){let s=t.task_id,i=this.#e.get(s),n=this.tasks.get(s)??i;this.#e.delete(s),this.#s.delete(
s),this.#t.delete(s),this.#t.set(s,t.version),this.tasks.set(s,t),this.total=Math.max(this.total,this.
tasks.size);let r=i?.epoch===this.#i&&i.version===t.version&&i.state===t.state&&!E(i,t),h=n!==void 0&&
ft(n,t);if(!r&&!h?e.news.push(t):i!==void 0&&(e.replaced=!0),this.tasks.size>z)for(let[u]of this.#t)
return this.#a(u)}#a(t){let{version:e,state:s,run:i,attempt:n,published_at:r}=this.tasks.get(t);if(this.#e.
set(t,{epoch:this.#i,version:e,state:s,run:i,attempt:n,published_at:r}),this.#e.size>z){let[h]=this.#e.
keys();this.#e.delete(h)}this.tasks.delete(t),this.#t.delete(t),this.#s.delete(t)}};function w(o,t=0){return{token:o,serial:t,endsAt:1/0,renewAt:1/0}}var[H,dt]=[.5,.8],pt=1e3,v=class{#t;#e;#s;#i;#n=0;#o=new WeakMap;#h=new Map;#r=new Map;#c=0;#u=null;#l="";constructor(t,e,s,i){
this.#t=t,this.#e=e,this.#s=s,this.#i=i}canRenew({source:t}){return typeof t=="function"||this.#e.canRenew}isNeeded(t){
let{source:e,credential:s}=t;return s.serial===0&&p(e)?!0:s.endsAt<=this.#t.now()&&this.canRenew(t)}async refresh(t){
let{source:e}=t,{serial:s}=t.credential;if(p(e))return t.credential=await this.#g(e,s),!0;let i=this.#r.
get(t.topic);if(i===void 0){let n=[...this.#s()].filter(r=>this.#k(r));i=this.#m([...new Set([t,...n])])}
return await i,t.credential.serial>s}granted(t,e){let{now:s,random:i}=this.#t,{credential:n}=t;if(typeof e!=
"number")return;let r=e*1e3;n.endsAt===1/0&&(n.renewAt=s()+r*(H+(dt-H)*i())),n.endsAt=s()+r,this.#f()}stop(){
this.#t.clearTimeout(this.#u)}#f(){let{now:t,setTimeout:e,clearTimeout:s}=this.#t;s(this.#u);let i=Math.
min(...[...this.#s()].map(n=>n.credential.renewAt));i!==1/0&&(this.#u=e(()=>this.#a(),Math.max(0,i-t())))}async#a(){
if(!this.#i())return;let t=[...this.#s()].filter(i=>i.credential.endsAt<1/0);for(let{credential:i}of t)
i.renewAt=1/0;let e=new Set(t.map(({source:i})=>i).filter(i=>p(i))),s=t.filter(i=>!p(i.source)&&this.
canRenew(i));await Promise.all([...[...e].map(i=>{let n=t.filter(r=>r.source===i);return this.#d(n,()=>this.#p(
i,n))}),this.#d(s,()=>this.#m(s))]),this.#f()}async#d(t,e){if(t.length!==0)try{await e(),this.#c=0}catch(s){
if(this.#S(`tokens are not renewed: ${s.message}`),s instanceof a)return;let i=d(this.#c++,this.#t.random),
n=this.#t.now()+Math.max(pt,i);for(let{credential:r}of t)r.renewAt=n}}async#p(t,e){let s=Math.max(...e.
map(({credential:n})=>n.serial)),i=await this.#g(t,s);for(let n of e)n.credential=i,n.onRenewed()}#g(t,e){
let s=this.#o.get(t);if(s!==void 0&&s.serial>e&&s.endsAt>this.#t.now())return Promise.resolve(s);let i=this.#h.
get(t);return i===void 0&&(i=this.#w(t).finally(()=>this.#h.delete(t)),this.#h.set(t,i)),i}async#w(t){
try{let e=w(await t()??void 0,++this.#n);return this.#o.set(t,e),e}catch(e){throw l(e),new Error(String(
e),{cause:e})}}#k({source:t,credential:e}){return!p(t)&&e.token!==void 0}async#m(t){let e=t.slice(0,
F),s=this.#y(e).finally(()=>{for(let{topic:i}of e)this.#r.delete(i)});for(let{topic:i}of e)this.#r.set(
i,s);await s,e.length<t.length&&await this.#m(t.slice(e.length))}async#y(t){let e=t.map(({topic:r})=>r),
{token:s,refused:i}=await this.#e.requestToken(e);if(s==="")return;let n=w(s,++this.#n);for(let r of t)
i.has(r.topic)||(r.credential=n,r.onRenewed())}#S(t){t!==this.#l&&(this.#l=t,this.#t.warn(`realtime:\
 ${t}`))}};function p(o){return typeof o=="function"}var C=class{id=0;resolve=()=>{};reject=()=>{};constructor(t){this.frame=t,this.promise=new Promise((e,s)=>Object.
assign(this,{resolve:e,reject:s}))}},A=class{source=void 0;credential=w(void 0);isActive=!1;limit=void 0;readers=new Set;topic;#t;#e;#s;#i;#n=0;#o=null;#h=0;#r=!1;#c=!1;#u=0;#l=null;#f=null;#a=null;#d=null;constructor(t,{
connection:e,platform:s,tokens:i,onOver:n}){this.topic=t,this.#t=e,this.#e=s,this.#s=i,this.#i=n,this.
feed=new b(t)}get isSettled(){return this.feed.task?.state==="SUCCESS"}setSource(t){t!==this.source&&
(this.source=t,this.credential=w(typeof t=="string"?t:void 0),this.#r&&this.ask())}async ask(){if(this.
isSettled||this.#l!==null)return;let t=this.#g();if(this.isActive=!0,this.#s.isNeeded(this)){try{await this.#s.
refresh(this)}catch(e){if(!(e instanceof a)){t===this.#h&&this.#p(()=>this.ask());return}}if(t!==this.#h)
return}this.#o=this.credential,this.#n=this.#t.send({type:"subscribe",topic:this.topic,since:this.feed.
position??void 0,token:this.credential.token,limit:this.limit})}onRenewed(){this.#r&&this.ask()}#p(t,e=d(
this.#u++,this.#e.random)){this.#f=this.#e.setTimeout(t,e)}#g(){return this.#e.clearTimeout(this.#f),
++this.#h}pause(){this.#g(),this.#n=0,this.isActive=!1,this.#r=!1,this.#c=!1;for(let t of[this.#a,this.#d])
t&&(t.id=0);this.feed.pause()}leave(t){!this.readers.delete(t)||this.readers.size>0||(this.#w(),this.
fail(new a("closed","The last handle of the topic was closed.")))}#w(){this.#n>0&&this.#t.send({type:"\
unsubscribe",topic:this.topic}),this.pause()}fail(t){if(this.#l!==null)return;this.#l=t,this.pause(),
this.#i(this),this.#a?.reject(t),this.#d?.reject(t),this.#a=this.#d=null;let e=[...this.readers];this.
readers.clear();for(let s of e)s.over(t)}cancel(){if(this.isSettled)return Promise.resolve();let t=this.
topic.slice(5);return this.#a??=this.#k({type:"cancel",task_id:t}),this.#a.promise}more(t){if(this.feed.
position!==null&&this.feed.next===null)return Promise.resolve();let{topic:e,feed:s}=this;return this.#d??=
this.#k(()=>({type:"page",topic:e,after:s.next,limit:t})),this.#d.promise}#k(t){let e=new C(typeof t==
"function"?t:()=>t);return this.#l!==null?e.reject(this.#l):this.#r&&(e.id=this.#t.send(e.frame())),
e}#m(){for(let t of[this.#a,this.#d])t?.id===0&&(t.id=this.#t.send(t.frame()))}onFrame(t){switch(t.type){case"\
event":this.#b(this.feed.event(t));break;case"snapshot":this.#b(this.feed.snapshot(t));break;case"un\
subscribed":this.#v(new a(t.code,t.message));break}}onAnswer(t){if(t.id===this.#n)t.type==="subscrib\
ed"?this.#y(t):t.type==="error"&&this.#S(O(t));else if(t.id===this.#a?.id)t.type==="cancelled"?this.#a?.
resolve():this.#a?.reject(O(t)),this.#a=null;else if(t.id===this.#d?.id){let e=this.#d;this.#d=null,
t.type==="page"&&this.#b(this.feed.page(t)),t.type==="page"?e?.resolve():e?.reject(O(t))}}#y(t){this.#u=
0,this.#r=!0,this.#c=!1,this.#s.granted(this,t.expires_in),this.#b(this.feed.subscribed(t)),this.#r&&
this.#m()}#S(t){let{code:e,retryAfter:s}=t;this.#n=0,this.#r=!1,e==="limit"&&s!==null?this.#p(()=>this.
ask(),(s+this.#e.random())*1e3):e==="internal"?this.#p(()=>this.ask()):e==="unauthorized"?this.#A(t):
this.fail(t)}#v(t){this.#n=0,this.#r=!1,this.feed.pause(),t.code==="unauthorized"?this.#A(t):this.fail(
t)}async#A(t){if(this.#c||!this.#s.canRenew(this)){this.fail(t);return}let e=this.#g();this.#c=!0;let s=this.
credential!==this.#o,{message:i}=t;try{s||=await this.#s.refresh(this)}catch(n){if(e!==this.#h)return;
if(!(n instanceof a)){this.#c=!1,this.#p(()=>this.#A(t));return}i+=` (${n.message})`}e===this.#h&&(s?
this.ask():this.fail(new a(t.code,i)))}#b(t){this.isSettled?(this.#w(),this.#a?.resolve(),this.#a=null,
this.#i(this)):t.gap&&this.ask();for(let e of[...this.readers])e.change(t)}};function O({code:o,message:t,
retry_after:e=null}){return new a(o,t,e)}var wt=5e3,mt=128,m=class{site;#t;#e;#s;#i=new Map;states=new c;#n=null;#o=!1;constructor(t,e){this.#e=
e,this.site=new T(t,e),this.#t=new S(t,e,{state:s=>this.#l(s),frame:s=>this.#f(s),isWanted:()=>this.#i.
size>0,diagnose:()=>this.site.diagnose()}),this.#s=new v(e,this.site,()=>this.#i.values(),()=>this.state.
state==="connected")}get state(){return this.#t.state}get serverNow(){return this.#t.serverNow}subscribe(t,{
token:e,limit:s}){let i=this.#i.get(t),n=i??new A(t,{connection:this.#t,platform:this.#e,tokens:this.#s,
onOver:r=>this.#u(r)});return this.#i.set(t,n),n.limit=s??n.limit,e!==void 0&&n.setSource(e),this.#e.
clearTimeout(this.#n),i===void 0&&queueMicrotask(()=>this.#h(n)),n}closeIfIdle(){this.#i.size>0||(this.#e.
clearTimeout(this.#n),this.#t.close("closed"))}#h(t){this.#i.get(t.topic)===t&&(this.state.state==="\
connected"?this.#r():this.#t.open())}#r(){let{subscriptions:t=mt}=this.#t.welcome.limits??{},e=[...this.#i.
values()],s=t-e.filter(({isActive:i})=>i).length;for(let i of e)if(!i.isActive){if(s--<=0){this.#c(t);
return}i.ask()}}#c(t){this.#o||(this.#o=!0,this.#e.warn(`realtime: the server allows ${t} subscripti\
ons on a connection. Others wait until some have ended; close handles that you no longer need, or su\
bscribe to a topic of many tasks.`))}#u(t){if(this.#i.get(t.topic)!==t)return;this.#i.delete(t.topic);
let{state:e}=this.state;if(e==="connected"&&this.#r(),this.#i.size>0||e==="disconnected")return;let{
setTimeout:s,clearTimeout:i}=this.#e;i(this.#n),this.#n=s(()=>this.#t.close(""),wt)}#l(t){let e=[...this.#i.
values()];if(t.state!=="connected")for(let s of e)s.pause();else this.#r();if(t.state==="disconnecte\
d"){this.#s.stop(),this.#e.clearTimeout(this.#n);for(let s of e)s.fail(new a("disconnected",t.reason))}
this.states.emit(t)}#f(t){if(t.id>0)for(let e of[...this.#i.values()])e.onAnswer(t);else t.topic!==void 0?
this.#i.get(t.topic)?.onFrame(t):t.type==="error"&&l(new a(t.code,t.message))}};function K(o,t){let e=globalThis,
s=e[Symbol.for("realtime.1")]??=new Map,i=s.get(o);return i===void 0&&(i=new m(o,t()),s.set(o,i)),i}var R=class{#t;#e;#s=null;#i=()=>{};#n=new c;#o=new c;constructor(t){this.#t=t,this.#e={change:e=>this.
onChange(e),over:e=>this.#h(e)},t.readers.add(this.#e)}onStatus(t){return this.#n.add(t,()=>this.subscription.
feed.tasks.values())}onError(t){return this.onOver(e=>{e.code!=="closed"&&t(e)})}close(){this.#s===null&&
(this.#h(new a("closed","The handle was closed.")),this.#t.leave(this.#e))}get subscription(){return this.#t}onOver(t){
return this.#o.add(t,()=>this.#s===null?[]:[this.#s])}onChange({news:t}){for(let e of t)this.#n.emit(
e)}onClosed(t){this.#i=t}#h(t){this.#s=t,this.#n.clear(),this.#i(),this.#o.emit(t)}},_=class extends R{#t=new c;#e=!1;constructor(t,e){
super(e),this.id=t}get status(){return this.subscription.feed.task}onProgress(t){return this.onStatus(
e=>{e.progress!==null&&t(e.progress,e)})}onEnd(t){return this.onStatus(e=>{f(e)&&t(e)})}onGone(t){return this.#t.
add(t,()=>[])}close(){this.#t.clear(),super.close()}done(){return new Promise((t,e)=>{let s=[this.onEnd(
n=>{i(),t(n)}),this.onOver(n=>{i(),e(n)})],i=()=>s.forEach(n=>n())})}cancel(){return this.subscription.
cancel()}onChange(t){let e=this.status!==null;this.#e&&!e&&this.#t.emit(),this.#e=e,super.onChange(t)}async*[Symbol.
asyncIterator](){let t=[],e=null,s=()=>{},i=[this.onStatus(n=>{t.at(-1)?.state===n.state&&t.pop(),t.
push(n),s()}),this.onOver(n=>{e=n,s()})];try{for(;;){let n=t.shift();if(n!==void 0){if(yield n,f(n))
return}else if(e!==null){if(e.code==="closed")return;throw e}else await new Promise(r=>{s=()=>r(void 0)})}}finally{
for(let n of i)n()}}},N=class extends R{#t=new c;constructor(t,e){super(e),this.name=t}get tasks(){return this.
subscription.feed.tasks}get total(){return this.subscription.feed.total}get hasMore(){return this.subscription.
feed.next!==null}more(t){return this.subscription.more(t)}onSnapshot(t){let{feed:e}=this.subscription;
return this.#t.add(t,()=>e.position===null?[]:[e.tasks])}close(){this.#t.clear(),super.close()}onChange(t){
t.replaced&&this.#t.emit(this.tasks),super.onChange(t)}};function L(){let o=globalThis.document?.getElementById("realtime-config")?.textContent;return o?JSON.
parse(o):{}}function M(o){let t=o.WebSocket??globalThis.WebSocket;if(t===void 0)throw new TypeError(
"There is no WebSocket here: use Node 22 or newer, or pass one.");return{fetch:(e,s)=>fetch(e,s),setTimeout:(e,s)=>setTimeout(
e,s),clearTimeout:e=>clearTimeout(e),now:()=>performance.now(),wallClock:()=>Date.now(),random:()=>Math.
random(),warn:e=>console.warn(e),events:typeof globalThis.addEventListener=="function"?globalThis:new EventTarget,
location:globalThis.location?.href,config:o.config??L(),...o,WebSocket:t}}var gt="/realtime/ws/";function ie(o,t){return new P(o,t)}function kt(o){if(/^[A-Za-z0-9_-]+$/.test(
o))return o;let t=new TextEncoder().encode(o);return`~${btoa(String.fromCharCode(...t)).replaceAll("\
+","-").replaceAll("/","_").replaceAll("=","")}`}var P=class extends EventTarget{#t;#e=new Set;#s=!1;constructor(t,e){
super();let s=e?.location??globalThis.location?.href,i=e?.config??L(),n=new URL(t??i.socket??gt,s);n.
protocol=n.protocol.replace("http","ws"),this.#t=e===void 0?K(n.href,()=>M({config:i})):new m(n.href,
M({...e,config:i}))}get state(){return this.#t.state}get serverTime(){return new Date(this.#t.serverNow)}onState(t){
return this.#t.states.add(t,()=>[this.state])}addEventListener(t,e,s){if(super.addEventListener(t,e,
s),t!=="state"||this.#s)return;this.#s=!0;let i=this.state;this.onState(n=>{n!==i&&(i=n,this.dispatchEvent(
new CustomEvent("state",{detail:n})))})}task(t,e={}){return this.#i(new _(t,this.#t.subscribe(`task:${t}`,
e)))}topic(t,e={}){return this.#i(new N(t,this.#t.subscribe(t,e)))}async requestToken(t){let{token:e,
refused:s}=await this.#t.site.requestToken(t);if(e!==""&&s.size===0)return e;throw new a("not_found",
"no such topic, or not for you")}resultUrl(t){return this.#t.site.url(`tasks/${kt(t)}/result/`)}close(){
for(let t of[...this.#e])t.close();this.#t.closeIfIdle()}#i(t){return this.#e.add(t),t.onClosed(()=>this.#e.
delete(t)),t}};export{P as Realtime,a as RealtimeError,_ as TaskHandle,N as TopicHandle,ie as connect,kt as idPath,
f as isTerminal};
