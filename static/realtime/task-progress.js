/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
function f(o){typeof globalThis.reportError=="function"?globalThis.reportError(o):console.error(o)}var u=class{#t=new Set;add(t,e){
let s={handler:t,isReady:!1};return this.#t.add(s),queueMicrotask(()=>{s.isReady=!0;for(let i of[...e()])
this.#e(s,i)}),()=>{this.#t.delete(s)}}emit(t){for(let e of[...this.#t])e.isReady&&this.#e(e,t)}clear(){
this.#t.clear()}#e(t,e){if(this.#t.has(t))try{t.handler(e)}catch(s){f(s)}}};var S=class{#t;#e;#s=[];#i=.8*10;#n=.8*50;#o=0;#h=0;#r=null;constructor(t,e){this.#t=t,this.#e=e}start({
frames_per_second:t=10,frame_burst:e=50}){this.#i=.8*t,this.#n=Math.max(1,Math.floor(.8*e)),this.#o=
this.#n,this.#h=this.#t.now()}clear(){this.#s=[],this.#t.clearTimeout(this.#r),this.#r=null}push(t){
this.#s.push(t),this.#r===null&&this.#l()}pushNow(t){this.#a(),this.#o-=1,this.#e(t)}#a(){let t=this.#t.
now(),e=(t-this.#h)/1e3*this.#i;this.#o=Math.min(this.#n,this.#o+e),this.#h=t}#l(){for(this.#a();this.#o>=
1&&this.#s.length>0;)this.#o-=1,this.#e(this.#s.shift());if(this.#s.length===0)return;let t=Math.ceil(
(1-this.#o)/this.#i*1e3);this.#r=this.#t.setTimeout(()=>{this.#r=null,this.#l()},t)}};var Q=500,tt=2e4,et=15e3,st=1e3,it=1e4,nt=1e3,I=1e4,y=3e3,j=9e4,ot=2,rt=8,z=1012,ht=1013,E=1006,at=4501,
K=["online","pageshow","resume","visibilitychange"],ct="updates are delayed: the server cannot reach\
 its store",lt="paused while the page is not shown";function w(o,t){return t()*Math.min(tt,Q*2**o)}function ut(o){
return o===1e3||o>=4500&&o<=4999}var T=class{state={state:"disconnected",reason:"",code:null,delayed:!1};welcome={
type:"welcome"};#t;#e;#s;#i;#n=null;#o=null;#h=0;#r=0;#a=0;#l="";#u=!1;#f=!1;#c=0;#d=0;#g=0;#S=0;#k=!1;#y=0;#p=null;#b="";#m="";constructor(t,e,s){
this.#t=t,this.#e=e,this.#s=s,this.#i=new S(e,i=>this.#n?.send(i))}open(){if(this.state.state!=="dis\
connected")return;let{events:t}=this.#e;for(let e of K)t.addEventListener(e,this.#L);t.addEventListener(
"pagehide",this.#$),this.#A("connecting","",null),this.#w()}#w(){if(this.state.state==="disconnected"||
this.#n!==null)return;this.#p=null,this.#b="",this.#u=!1,this.#d=this.#e.now();let t;try{t=new this.#e.
WebSocket(this.#t)}catch(e){this.#C(String(e),null);return}this.#n=t,t.onmessage=({data:e})=>{t===this.#n&&
this.#T(e)},t.onclose=({code:e,reason:s})=>{t===this.#n&&this.#R(e,s)},this.#v(I,()=>this.#R(E,"no a\
nswer"))}close(t){this.#x(1e3),this.#C(t,null)}get serverNow(){let{now:t,wallClock:e}=this.#e,s=Date.
parse(this.welcome.now);return Number.isNaN(s)?e():s+t()-this.#g}send(t){let e=++this.#y;return this.#i.
push(JSON.stringify({...t,id:e})),e}#T(t){this.#S=this.#e.now(),this.#k=!1;let e=ft(t);switch(e.type){case"":case"\
pong":break;case"welcome":this.#E(e);break;case"store":this.#D(e.available!==!1);break;case"closing":
this.#p=e,this.#v(I,()=>this.#R(E,""));break;default:if(e.type==="error"&&this.state.state!=="connec\
ted"){this.#b=e.message;return}try{this.#s.frame(e)}catch(s){f(s)}}}#E(t){let e=this.#e.now();this.welcome=
t,this.#c=(t.ping??25)*1e3,this.#g=e,this.#m="",this.#i.start(t.limits??{}),this.#O(this.#c),this.#A(
"connected","",null)}#D(t){this.state.state==="connected"&&this.#A("connected",t?"":ct,null,!t)}#O(t){
let{now:e,wallClock:s}=this.#e,i=e()+t,n=s()+t;this.#v(t,()=>{let r=e()-i,h=e()-this.#S;r>j?this.#R(
E,"was asleep"):this.#k?this.#R(E,"no answer"):s()-n-r>j?this.#_(y):h>=this.#c?this.#_(I):this.#O(this.#c-
h)})}#_(t){this.#k=!0,this.#i.pushNow(JSON.stringify({type:"ping",id:++this.#y})),this.#O(t)}#L=({type:t})=>{
if(globalThis.document?.visibilityState==="hidden"&&!this.#f)return;let{now:e,random:s}=this.#e;if(this.#n===
null){if(this.#u)return;t!=="online"||this.#f?this.#M():this.#P(s()*st)}else if(this.state.state!=="\
connected"){if(e()-this.#d<=y)return;this.#x(),this.#M()}else this.#p===null&&(this.#k?this.#P(y):this.#_(
y))};#M(){this.#f=!1,this.#v(0,null),this.#w()}#P(t){this.#I!==null&&this.#e.now()+t<this.#h&&this.#v(
t,this.#I)}#$=({persisted:t})=>{!t||this.state.state==="disconnected"||(this.#x(1e3),this.#f=!0,this.#u=
!1,this.#A("connecting",lt,null))};#R(t,e){let s=this.#e.now(),i=this.state.state==="connected",n=s-
this.#g,r=this.#p;if(r!==null&&(t=r.code,e=r.message),e=this.#b||e||"connection lost",this.#x(),typeof r?.
reconnect=="boolean"?!r.reconnect:ut(t)){if(this.#C(e,t),t===at)return;this.#N(`${e} (${t}). Nothing\
 is tried until something is subscribed to.`);return}if(!this.#s.isWanted()){this.#C("",null);return}
i&&n>=nt?(this.#a=0,this.#l=""):this.#a+=1,i&&n>=it&&(this.#r=0),this.#W(t,r?.retry_after),t===ht&&this.#N(
`${e} (${t}). Trying again.`),this.#A("connecting",this.#l||e,t),this.#a%rt===ot&&r===null&&this.#U(
t)}#W(t,e){let{random:s}=this.#e,i=w(this.#r++,s);typeof e=="number"?i=(e+s())*1e3:t===z&&(i=s()*et),
this.#u=typeof e=="number"||t===z,this.#v(i,()=>this.#w())}async#U(t){let{reason:e,retryAfter:s}=await this.#s.
diagnose();this.state.state!=="connecting"||this.#a===0||(this.#l=e,s!==null&&this.#n===null&&this.#W(
t,s),this.#N(`no connection: ${e}. Trying again.`),this.#A("connecting",e,this.state.code))}#N(t){t!==
this.#m&&(this.#m=t,this.#e.warn(`realtime: ${t}`))}#x(t){let e=this.#n;this.#n=null,this.#k=!1,this.#i.
clear(),this.#v(0,null),e?.close(t)}#C(t,e){let{events:s}=this.#e;for(let i of K)s.removeEventListener(
i,this.#L);s.removeEventListener("pagehide",this.#$),this.#f=!1,this.#a=0,this.#l="",this.#A("discon\
nected",t,e)}#I=null;#v(t,e){let{now:s,setTimeout:i,clearTimeout:n}=this.#e;n(this.#o),this.#I=e,this.#h=
s()+t,this.#o=e===null?null:i(e,t)}#A(t,e,s,i=!1){let n=this.state;this.state={state:t,reason:e,code:s,
delayed:i},(t!==n.state||e!==n.reason)&&this.#s.state(this.state)}};function ft(o){try{let t=JSON.parse(
o);if(typeof t?.type=="string")return t}catch{}return{type:""}}var a=class extends Error{name="RealtimeError";constructor(t,e,s=null){super(e),this.code=t,this.retryAfter=
s}};var dt=1e4,H=128,B="signing in is needed: another page answered instead of the service",v=class{#t;#e;canRenew;constructor(t,e){
this.#t=e;let{location:s,config:i}=e,n=new URL(t);n.protocol=n.protocol.replace("ws","http"),this.canRenew=
s!==void 0&&new URL(s).origin===n.origin;let r=i.socket!==void 0&&i.http!==void 0&&s!==void 0&&new URL(
i.socket,s).pathname===n.pathname,h=n.pathname.endsWith("/")?"..":".";this.#e=new URL(r?i.http:h,n)}url(t){
return new URL(t,this.#e).href}async requestToken(t){let{csrf_header:e="X-CSRFToken"}=this.#t.config,
s=await this.#s("tokens/",{method:"POST",headers:{Accept:"application/json","Content-Type":"applicat\
ion/json",[e]:this.#i()},body:JSON.stringify({topics:t})});if(G(s))throw new a("unauthorized",B);let i=await s.
json();if(s.ok){let h=new Set(Object.values(i.refused??[]).map(pt));return{token:i.token??"",refused:h}}
let{code:n="internal",message:r=`HTTP ${s.status}`}=i.error??{};throw s.status>=500||s.status===429?
new Error(r):new a(n,r)}async diagnose(){let{location:t}=this.#t,e={Accept:"application/json"};this.
canRenew&&t&&(e["X-Realtime-Origin"]=new URL(t).origin);let s;try{s=await this.#s("ws/",{headers:e})}catch{
return{reason:"the server cannot be reached",retryAfter:null}}let i=Number(s.headers.get("Retry-Afte\
r")??NaN);return{reason:await wt(s),retryAfter:i>=0?i:null}}async#s(t,e){let s=new AbortController,i=this.#t.
setTimeout(()=>s.abort(),dt);try{return await this.#t.fetch(this.url(t),{credentials:"same-origin",cache:"\
no-store",signal:s.signal,...e})}finally{this.#t.clearTimeout(i)}}#i(){let{csrf_cookie:t="csrftoken",
csrf_token:e}=this.#t.config,{document:s}=globalThis;for(let n of s?.cookie.split("; ")??[])if(n.startsWith(
`${t}=`))return n.slice(t.length+1);return e||(s?.querySelector("input[name=csrfmiddlewaretoken]")?.
value??"")}};function pt(o){return typeof o=="string"?o:o.topic}function G(o){let t=o.headers.get("C\
ontent-Type")??"";return o.redirected||o.ok&&t.includes("html")}async function wt(o){let{status:t}=o;
return G(o)||t===401?B:o.ok||t===426?"the server is there, but no WebSocket reaches it: a proxy does\
 not pass them on":`${(await o.json().catch(()=>({})))?.error?.message??mt[t]??"the server refuses W\
ebSockets"} (${t})`}var mt={403:"the server refuses this page",404:"there is no such service at this\
 address",502:"the server cannot be reached",503:"the server cannot serve now",504:"the server does \
not answer"};function J(o,t,e=0){return o===null||t.epoch!==o.epoch?"gap":t.offset<=o.offset?"drop":t.offset-e<=o.
offset+1?"deliver":"gap"}var gt=new Set(["SUCCESS","FAILURE","REVOKED","LOST"]),V=1e3,kt=1e3;function c(o){return gt.has(o.state)}
function A(o,t){return o.published_at!==null&&t.published_at!==null&&t.published_at>o.published_at}function bt(o,t){
return c(o)&&o.state===t.state&&o.run===t.run&&o.attempt===t.attempt&&!A(o,t)}var R=class{position=null;tasks=new Map;total=0;next=null;#t=new Map;#e=new Map;#s=new Set;#i=null;#n=!1;#o=[];#h;constructor(t){
this.#h=t.startsWith("task:")?t.slice(5):null}get task(){return this.#h===null?null:this.tasks.get(this.#h)??
null}pause(){this.#n=!1,this.#o=[]}subscribed(t){let{epoch:e,offset:s,recovered:i,events:n=[],snapshot:r=[]}=t,
h={news:[],replaced:!1,gap:!1};if(this.#n=!0,i){this.total=t.total??this.total;for(let p of n)this.#r(
{epoch:e,...p},h);(this.position?.epoch!==e||this.position.offset<s)&&(this.position=null,this.#n=!1,
h.gap=!0)}else this.#a({...t,snapshot:r},h);let l=this.#o;this.#o=[];for(let p of l)this.#r(p,h);return this.#n||
(this.#o=[]),h}snapshot(t){let e={news:[],replaced:!1,gap:!1};return this.#a(t,e),e}event(t){let e={
news:[],replaced:!1,gap:!1};return this.#r(t,e),e}page({snapshot:t,next:e=null}){let s={news:[],replaced:!1,
gap:!1};this.next=e;for(let i of t)this.#u(i)||(this.#f(i,s),this.#s.add(i.task_id));return s}#r(t,e){
if(!this.#n){this.#o.push(t),this.#o.length>kt&&this.#o.shift();return}let{epoch:s,offset:i,merged:n,
status:r}=t;switch(J(this.position,{epoch:s,offset:i},n)){case"deliver":if(this.position={epoch:s,offset:i},
this.#s.has(r.task_id)&&this.#u(r))return;this.#f(r,e);break;case"gap":this.#n=!1,this.#o.push(t),e.
gap=!0;break}}#a({epoch:t,offset:e,snapshot:s,total:i=0,next:n=null},r){let h=this.task;this.#h===null?
this.#l(s,n):s.length===0&&h!==null&&!c(h)&&this.#c(h.task_id),(t!==this.#i||e<(this.position?.offset??
0))&&(this.#t.clear(),this.#i=t),this.position={epoch:t,offset:e},this.total=i,this.next=n,r.replaced=
!0;for(let l of s)this.#u(l)||this.#f(l,r)}#l(t,e){let s=new Set(t.map(n=>n.task_id)),i=e===null?void 0:
t.at(-1);for(let[n,r]of this.tasks){let h=i!==void 0&&A(r,i);!s.has(n)&&!h&&this.#c(n)}}#u(t){let e=t.
task_id,s=this.#t.get(e)??0;if(t.version>s)return!1;let i=this.tasks.get(e);return i===void 0||!A(i,
t)}#f(t,e){let s=t.task_id,i=this.#e.get(s),n=this.tasks.get(s)??i;this.#e.delete(s),this.#s.delete(
s),this.#t.delete(s),this.#t.set(s,t.version),this.tasks.set(s,t),this.total=Math.max(this.total,this.
tasks.size);let r=i?.epoch===this.#i&&i.version===t.version&&i.state===t.state&&!A(i,t),h=n!==void 0&&
bt(n,t);if(!r&&!h?e.news.push(t):i!==void 0&&(e.replaced=!0),this.tasks.size>V)for(let[l]of this.#t)
return this.#c(l)}#c(t){let{version:e,state:s,run:i,attempt:n,published_at:r}=this.tasks.get(t);if(this.#e.
set(t,{epoch:this.#i,version:e,state:s,run:i,attempt:n,published_at:r}),this.#e.size>V){let[h]=this.#e.
keys();this.#e.delete(h)}this.tasks.delete(t),this.#t.delete(t),this.#s.delete(t)}};function g(o,t=0){return{token:o,serial:t,endsAt:1/0,renewAt:1/0}}var[Y,St]=[.5,.8],yt=1e3,x=class{#t;#e;#s;#i;#n=0;#o=new WeakMap;#h=new Map;#r=new Map;#a=0;#l=null;#u="";constructor(t,e,s,i){
this.#t=t,this.#e=e,this.#s=s,this.#i=i}canRenew({source:t}){return typeof t=="function"||this.#e.canRenew}isNeeded(t){
let{source:e,credential:s}=t;return s.serial===0&&m(e)?!0:s.endsAt<=this.#t.now()&&this.canRenew(t)}async refresh(t){
let{source:e}=t,{serial:s}=t.credential;if(m(e))return t.credential=await this.#S(e,s),!0;let i=this.#r.
get(t.topic);if(i===void 0){let n=[...this.#s()].filter(r=>this.#y(r));i=this.#p([...new Set([t,...n])])}
return await i,t.credential.serial>s}granted(t,e){let{now:s,random:i}=this.#t,{credential:n}=t;if(typeof e!=
"number")return;let r=e*1e3;n.endsAt===1/0&&(n.renewAt=s()+r*(Y+(St-Y)*i())),n.endsAt=s()+r,this.#f()}stop(){
this.#t.clearTimeout(this.#l)}#f(){let{now:t,setTimeout:e,clearTimeout:s}=this.#t;s(this.#l);let i=Math.
min(...[...this.#s()].map(n=>n.credential.renewAt));i!==1/0&&(this.#l=e(()=>this.#c(),Math.max(0,i-t())))}async#c(){
if(!this.#i())return;let t=[...this.#s()].filter(i=>i.credential.endsAt<1/0);for(let{credential:i}of t)
i.renewAt=1/0;let e=new Set(t.map(({source:i})=>i).filter(i=>m(i))),s=t.filter(i=>!m(i.source)&&this.
canRenew(i));await Promise.all([...[...e].map(i=>{let n=t.filter(r=>r.source===i);return this.#d(n,()=>this.#g(
i,n))}),this.#d(s,()=>this.#p(s))]),this.#f()}async#d(t,e){if(t.length!==0)try{await e(),this.#a=0}catch(s){
if(this.#m(`tokens are not renewed: ${s.message}`),s instanceof a)return;let i=w(this.#a++,this.#t.random),
n=this.#t.now()+Math.max(yt,i);for(let{credential:r}of t)r.renewAt=n}}async#g(t,e){let s=Math.max(...e.
map(({credential:n})=>n.serial)),i=await this.#S(t,s);for(let n of e)n.credential=i,n.onRenewed()}#S(t,e){
let s=this.#o.get(t);if(s!==void 0&&s.serial>e&&s.endsAt>this.#t.now())return Promise.resolve(s);let i=this.#h.
get(t);return i===void 0&&(i=this.#k(t).finally(()=>this.#h.delete(t)),this.#h.set(t,i)),i}async#k(t){
try{let e=g(await t()??void 0,++this.#n);return this.#o.set(t,e),e}catch(e){throw f(e),new Error(String(
e),{cause:e})}}#y({source:t,credential:e}){return!m(t)&&e.token!==void 0}async#p(t){let e=t.slice(0,
H),s=this.#b(e).finally(()=>{for(let{topic:i}of e)this.#r.delete(i)});for(let{topic:i}of e)this.#r.set(
i,s);await s,e.length<t.length&&await this.#p(t.slice(e.length))}async#b(t){let e=t.map(({topic:r})=>r),
{token:s,refused:i}=await this.#e.requestToken(e);if(s==="")return;let n=g(s,++this.#n);for(let r of t)
i.has(r.topic)||(r.credential=n,r.onRenewed())}#m(t){t!==this.#u&&(this.#u=t,this.#t.warn(`realtime:\
 ${t}`))}};function m(o){return typeof o=="function"}var M=class{id=0;resolve=()=>{};reject=()=>{};constructor(t){this.frame=t,this.promise=new Promise((e,s)=>Object.
assign(this,{resolve:e,reject:s}))}},C=class{source=void 0;credential=g(void 0);isActive=!1;limit=void 0;readers=new Set;topic;#t;#e;#s;#i;#n=0;#o=null;#h=0;#r=!1;#a=!1;#l=0;#u=null;#f=null;#c=null;#d=null;constructor(t,{
connection:e,platform:s,tokens:i,onOver:n}){this.topic=t,this.#t=e,this.#e=s,this.#s=i,this.#i=n,this.
feed=new R(t)}get isSettled(){return this.feed.task?.state==="SUCCESS"}setSource(t){t!==this.source&&
(this.source=t,this.credential=g(typeof t=="string"?t:void 0),this.#r&&this.ask())}async ask(){if(this.
isSettled||this.#u!==null)return;let t=this.#S();if(this.isActive=!0,this.#s.isNeeded(this)){try{await this.#s.
refresh(this)}catch(e){if(!(e instanceof a)){t===this.#h&&this.#g(()=>this.ask());return}}if(t!==this.#h)
return}this.#o=this.credential,this.#n=this.#t.send({type:"subscribe",topic:this.topic,since:this.feed.
position??void 0,token:this.credential.token,limit:this.limit})}onRenewed(){this.#r&&this.ask()}#g(t,e=w(
this.#l++,this.#e.random)){this.#f=this.#e.setTimeout(t,e)}#S(){return this.#e.clearTimeout(this.#f),
++this.#h}pause(){this.#S(),this.#n=0,this.isActive=!1,this.#r=!1,this.#a=!1;for(let t of[this.#c,this.#d])
t&&(t.id=0);this.feed.pause()}leave(t){!this.readers.delete(t)||this.readers.size>0||(this.#k(),this.
fail(new a("closed","The last handle of the topic was closed.")))}#k(){this.#n>0&&this.#t.send({type:"\
unsubscribe",topic:this.topic}),this.pause()}fail(t){if(this.#u!==null)return;this.#u=t,this.pause(),
this.#i(this),this.#c?.reject(t),this.#d?.reject(t),this.#c=this.#d=null;let e=[...this.readers];this.
readers.clear();for(let s of e)s.over(t)}cancel(){if(this.isSettled)return Promise.resolve();let t=this.
topic.slice(5);return this.#c??=this.#y({type:"cancel",task_id:t}),this.#c.promise}more(t){if(this.feed.
position!==null&&this.feed.next===null)return Promise.resolve();let{topic:e,feed:s}=this;return this.#d??=
this.#y(()=>({type:"page",topic:e,after:s.next,limit:t})),this.#d.promise}#y(t){let e=new M(typeof t==
"function"?t:()=>t);return this.#u!==null?e.reject(this.#u):this.#r&&(e.id=this.#t.send(e.frame())),
e}#p(){for(let t of[this.#c,this.#d])t?.id===0&&(t.id=this.#t.send(t.frame()))}onFrame(t){switch(t.type){case"\
event":this.#E(this.feed.event(t));break;case"snapshot":this.#E(this.feed.snapshot(t));break;case"un\
subscribed":this.#w(new a(t.code,t.message));break}}onAnswer(t){if(t.id===this.#n)t.type==="subscrib\
ed"?this.#b(t):t.type==="error"&&this.#m(L(t));else if(t.id===this.#c?.id)t.type==="cancelled"?this.#c?.
resolve():this.#c?.reject(L(t)),this.#c=null;else if(t.id===this.#d?.id){let e=this.#d;this.#d=null,
t.type==="page"&&this.#E(this.feed.page(t)),t.type==="page"?e?.resolve():e?.reject(L(t))}}#b(t){this.#l=
0,this.#r=!0,this.#a=!1,this.#s.granted(this,t.expires_in),this.#E(this.feed.subscribed(t)),this.#r&&
this.#p()}#m(t){let{code:e,retryAfter:s}=t;this.#n=0,this.#r=!1,e==="limit"&&s!==null?this.#g(()=>this.
ask(),(s+this.#e.random())*1e3):e==="internal"?this.#g(()=>this.ask()):e==="unauthorized"?this.#T(t):
this.fail(t)}#w(t){this.#n=0,this.#r=!1,this.feed.pause(),t.code==="unauthorized"?this.#T(t):this.fail(
t)}async#T(t){if(this.#a||!this.#s.canRenew(this)){this.fail(t);return}let e=this.#S();this.#a=!0;let s=this.
credential!==this.#o,{message:i}=t;try{s||=await this.#s.refresh(this)}catch(n){if(e!==this.#h)return;
if(!(n instanceof a)){this.#a=!1,this.#g(()=>this.#T(t));return}i+=` (${n.message})`}e===this.#h&&(s?
this.ask():this.fail(new a(t.code,i)))}#E(t){this.isSettled?(this.#k(),this.#c?.resolve(),this.#c=null,
this.#i(this)):t.gap&&this.ask();for(let e of[...this.readers])e.change(t)}};function L({code:o,message:t,
retry_after:e=null}){return new a(o,t,e)}var Et=5e3,Tt=128,k=class{site;#t;#e;#s;#i=new Map;states=new u;#n=null;#o=!1;constructor(t,e){this.#e=
e,this.site=new v(t,e),this.#t=new T(t,e,{state:s=>this.#u(s),frame:s=>this.#f(s),isWanted:()=>this.#i.
size>0,diagnose:()=>this.site.diagnose()}),this.#s=new x(e,this.site,()=>this.#i.values(),()=>this.state.
state==="connected")}get state(){return this.#t.state}get serverNow(){return this.#t.serverNow}subscribe(t,{
token:e,limit:s}){let i=this.#i.get(t),n=i??new C(t,{connection:this.#t,platform:this.#e,tokens:this.#s,
onOver:r=>this.#l(r)});return this.#i.set(t,n),n.limit=s??n.limit,e!==void 0&&n.setSource(e),this.#e.
clearTimeout(this.#n),i===void 0&&queueMicrotask(()=>this.#h(n)),n}closeIfIdle(){this.#i.size>0||(this.#e.
clearTimeout(this.#n),this.#t.close("closed"))}#h(t){this.#i.get(t.topic)===t&&(this.state.state==="\
connected"?this.#r():this.#t.open())}#r(){let{subscriptions:t=Tt}=this.#t.welcome.limits??{},e=[...this.#i.
values()],s=t-e.filter(({isActive:i})=>i).length;for(let i of e)if(!i.isActive){if(s--<=0){this.#a(t);
return}i.ask()}}#a(t){this.#o||(this.#o=!0,this.#e.warn(`realtime: the server allows ${t} subscripti\
ons on a connection. Others wait until some have ended; close handles that you no longer need, or su\
bscribe to a topic of many tasks.`))}#l(t){if(this.#i.get(t.topic)!==t)return;this.#i.delete(t.topic);
let{state:e}=this.state;if(e==="connected"&&this.#r(),this.#i.size>0||e==="disconnected")return;let{
setTimeout:s,clearTimeout:i}=this.#e;i(this.#n),this.#n=s(()=>this.#t.close(""),Et)}#u(t){let e=[...this.#i.
values()];if(t.state!=="connected")for(let s of e)s.pause();else this.#r();if(t.state==="disconnecte\
d"){this.#s.stop(),this.#e.clearTimeout(this.#n);for(let s of e)s.fail(new a("disconnected",t.reason))}
this.states.emit(t)}#f(t){if(t.id>0)for(let e of[...this.#i.values()])e.onAnswer(t);else t.topic!==void 0?
this.#i.get(t.topic)?.onFrame(t):t.type==="error"&&f(new a(t.code,t.message))}};function X(o,t){let e=globalThis,
s=e[Symbol.for("realtime.1")]??=new Map,i=s.get(o);return i===void 0&&(i=new k(o,t()),s.set(o,i)),i}var O=class{#t;#e;#s=null;#i=()=>{};#n=new u;#o=new u;constructor(t){this.#t=t,this.#e={change:e=>this.
onChange(e),over:e=>this.#h(e)},t.readers.add(this.#e)}onStatus(t){return this.#n.add(t,()=>this.subscription.
feed.tasks.values())}onError(t){return this.onOver(e=>{e.code!=="closed"&&t(e)})}close(){this.#s===null&&
(this.#h(new a("closed","The handle was closed.")),this.#t.leave(this.#e))}get subscription(){return this.#t}onOver(t){
return this.#o.add(t,()=>this.#s===null?[]:[this.#s])}onChange({news:t}){for(let e of t)this.#n.emit(
e)}onClosed(t){this.#i=t}#h(t){this.#s=t,this.#n.clear(),this.#i(),this.#o.emit(t)}},_=class extends O{#t=new u;#e=!1;constructor(t,e){
super(e),this.id=t}get status(){return this.subscription.feed.task}onProgress(t){return this.onStatus(
e=>{e.progress!==null&&t(e.progress,e)})}onEnd(t){return this.onStatus(e=>{c(e)&&t(e)})}onGone(t){return this.#t.
add(t,()=>[])}close(){this.#t.clear(),super.close()}done(){return new Promise((t,e)=>{let s=[this.onEnd(
n=>{i(),t(n)}),this.onOver(n=>{i(),e(n)})],i=()=>s.forEach(n=>n())})}cancel(){return this.subscription.
cancel()}onChange(t){let e=this.status!==null;this.#e&&!e&&this.#t.emit(),this.#e=e,super.onChange(t)}async*[Symbol.
asyncIterator](){let t=[],e=null,s=()=>{},i=[this.onStatus(n=>{t.at(-1)?.state===n.state&&t.pop(),t.
push(n),s()}),this.onOver(n=>{e=n,s()})];try{for(;;){let n=t.shift();if(n!==void 0){if(yield n,c(n))
return}else if(e!==null){if(e.code==="closed")return;throw e}else await new Promise(r=>{s=()=>r(void 0)})}}finally{
for(let n of i)n()}}},N=class extends O{#t=new u;constructor(t,e){super(e),this.name=t}get tasks(){return this.
subscription.feed.tasks}get total(){return this.subscription.feed.total}get hasMore(){return this.subscription.
feed.next!==null}more(t){return this.subscription.more(t)}onSnapshot(t){let{feed:e}=this.subscription;
return this.#t.add(t,()=>e.position===null?[]:[e.tasks])}close(){this.#t.clear(),super.close()}onChange(t){
t.replaced&&this.#t.emit(this.tasks),super.onChange(t)}};function b(){let o=globalThis.document?.getElementById("realtime-config")?.textContent;return o?JSON.
parse(o):{}}function P(o){let t=o.WebSocket??globalThis.WebSocket;if(t===void 0)throw new TypeError(
"There is no WebSocket here: use Node 22 or newer, or pass one.");return{fetch:(e,s)=>fetch(e,s),setTimeout:(e,s)=>setTimeout(
e,s),clearTimeout:e=>clearTimeout(e),now:()=>performance.now(),wallClock:()=>Date.now(),random:()=>Math.
random(),warn:e=>console.warn(e),events:typeof globalThis.addEventListener=="function"?globalThis:new EventTarget,
location:globalThis.location?.href,config:o.config??b(),...o,WebSocket:t}}var vt="/realtime/ws/";function Z(o,t){return new $(o,t)}function At(o){if(/^[A-Za-z0-9_-]+$/.test(o))
return o;let t=new TextEncoder().encode(o);return`~${btoa(String.fromCharCode(...t)).replaceAll("+",
"-").replaceAll("/","_").replaceAll("=","")}`}var $=class extends EventTarget{#t;#e=new Set;#s=!1;constructor(t,e){
super();let s=e?.location??globalThis.location?.href,i=e?.config??b(),n=new URL(t??i.socket??vt,s);n.
protocol=n.protocol.replace("http","ws"),this.#t=e===void 0?X(n.href,()=>P({config:i})):new k(n.href,
P({...e,config:i}))}get state(){return this.#t.state}get serverTime(){return new Date(this.#t.serverNow)}onState(t){
return this.#t.states.add(t,()=>[this.state])}addEventListener(t,e,s){if(super.addEventListener(t,e,
s),t!=="state"||this.#s)return;this.#s=!0;let i=this.state;this.onState(n=>{n!==i&&(i=n,this.dispatchEvent(
new CustomEvent("state",{detail:n})))})}task(t,e={}){return this.#i(new _(t,this.#t.subscribe(`task:${t}`,
e)))}topic(t,e={}){return this.#i(new N(t,this.#t.subscribe(t,e)))}async requestToken(t){let{token:e,
refused:s}=await this.#t.site.requestToken(t);if(e!==""&&s.size===0)return e;throw new a("not_found",
"no such topic, or not for you")}resultUrl(t){return this.#t.site.url(`tasks/${At(t)}/result/`)}close(){
for(let t of[...this.#e])t.close();this.#t.closeIfIdle()}#i(t){return this.#e.add(t),t.onClosed(()=>this.#e.
delete(t)),t}};var W={PENDING:"waiting",RECEIVED:"received",RETRY:"waiting to be tried again",STALLED:"the worker d\
oes not answer",SUCCESS:"succeeded",FAILURE:"failed",REVOKED:"cancelled",LOST:"lost",running:"runnin\
g",cancelling:"cancelling",gone:"not known any more",count:"{current} of {total}",progress:"Progress",
offline:"not connected",delayed:"updates are delayed"};function D(o,t=W){let{error:e,progress:s}=o,i=U(
o,t);if(e)return`${i}: ${e.message||e.type}`;if(!s||c(o))return i;let{current:n,total:r,message:h}=s,
l=n===null?"":`${n}`;n!==null&&r!==null&&(l=(t.count??"").replace("{current}",`${n}`).replace("{tota\
l}",`${r}`));let p=[l,h].filter(Boolean).join(", ");return p?`${i}: ${p}`:i}function U(o,t){return o.
cancelling&&!c(o)?t.cancelling??"":(/^[A-Z]/.test(o.state)&&Object.hasOwn(t,o.state)?t[o.state]:t.running)??
""}var Rt=5e3,xt=5e3,F=null,q=class extends HTMLElement{static observedAttributes=["task-id","token","l\
abel","words"];#t=null;#e="";#s=null;#i=null;#n=!1;#o="";#h=-1/0;#r=null;#a=null;get task(){return this.#t}connectedCallback(){
this.#l()}disconnectedCallback(){this.#l()}attributeChangedCallback(){this.#l()}#l(){this.#n||(this.#n=
!0,queueMicrotask(()=>{this.#n=!1,this.#i=null,this.#u()}))}#u(){let t=this.isConnected?this.getAttribute(
"task-id")??"":"",e=this.getAttribute("token")??"";if((t!==(this.#t?.id??"")||t!==""&&e!==this.#e)&&
this.#f(t,e),!this.isConnected)return;let s=this.getAttribute("label")??"";d(this.#w("label"),s),this.#w(
"label").hidden=s==="",this.#m.setAttribute("aria-label",s||(this.#b.progress??"")),this.#s!==null&&
this.#g(this.#s)}#f(t,e){let s=this.#t;if(this.#e=e,this.#t=null,t!==""){s!==null&&s.id!==t&&this.#c(),
F??=Z();let i=F.task(t,{token:e||void 0});this.#t=i,i.onStatus(n=>this.#d(n)),i.onGone(()=>this.#k(this.#b.
gone??"")),i.onError(n=>this.#k(n.message)),this.#r??=F.onState(n=>this.#y(n))}else s!==null&&this.isConnected&&
this.#c(),this.#r?.(),this.#r=null,clearTimeout(this.#a);s?.close()}#c(){this.#s=null,this.removeAttribute(
"state"),this.#m.hidden=!1,this.#m.removeAttribute("value"),d(this.#w("text"),"")}#d(t){this.#s=t,this.#g(
t),this.dispatchEvent(new CustomEvent("task-status",{detail:t,bubbles:!0}))}#g(t){let e=this.#b;this.
setAttribute("state",t.state),this.#m.hidden=!1,Ot(this.#m,t),d(this.#w("text"),D(t,e)),c(t)&&this.#p(
""),this.#S(t,e)}#S(t,e){let s=U(t,e),i=performance.now();if(s===this.#o&&i-this.#h<Rt)return;this.#o=
s,this.#h=i;let n=this.getAttribute("label"),r=D(t,e);d(this.#w("announcement"),n?`${n}: ${r}`:r)}#k(t){
this.#m.hidden=!0,this.#p(""),d(this.#w("text"),t),d(this.#w("announcement"),t)}#y({state:t,reason:e,
delayed:s}){this.setAttribute("connection",s?"delayed":t),clearTimeout(this.#a);let{offline:i,delayed:n}=this.#b;
s?this.#p(n??""):t==="connected"||e===""?this.#p(""):t==="disconnected"?this.#p(`${i}: ${e}`):this.#a=
setTimeout(()=>this.#p(`${i}: ${e}`),xt)}#p(t){let e=this.#s!==null&&c(this.#s);d(this.#w("connectio\
n"),e?"":t)}get#b(){let t=this.getAttribute("words");return this.#i??={...W,...b().words,...t?JSON.parse(
t):{}},this.#i}get#m(){return this.#w("bar")}#w(t){return this.querySelector('[data-part="announceme\
nt"]')===null&&this.#T(),this.querySelector(`[data-part="${t}"]`)}#T(){for(let[e,s]of Object.entries(
Ct)){if(this.querySelector(`[data-part="${e}"]`)!==null)continue;let i=document.createElement(s);i.dataset.
part=e,this.append(i," ")}this.#E("label"),this.#E("text");let t=this.#w("announcement");t.setAttribute(
"role","status"),Object.assign(t.style,{position:"absolute",width:"1px",height:"1px",overflow:"hidde\
n",clipPath:"inset(50%)",whiteSpace:"nowrap"})}#E(t){this.#w(t).setAttribute("aria-hidden","true")}},
Ct={label:"span",bar:"progress",text:"span",connection:"span",announcement:"span"};function Ot(o,t){
let{current:e=null,total:s=null}=t.progress??{};c(t)?(o.max=1,o.value=t.state==="SUCCESS"?1:0):e!==null&&
s!==null&&s>0?(o.max=s,o.value=e):o.removeAttribute("value")}function d(o,t){o.textContent!==t&&(o.textContent=
t)}customElements.get("task-progress")===void 0&&customElements.define("task-progress",q);export{q as TaskProgress,W as WORDS,D as describe};
