/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
function f(o){typeof globalThis.reportError=="function"?globalThis.reportError(o):console.error(o)}var l=class{#t=new Set;add(t,e){
let s={handler:t,isReady:!1};return this.#t.add(s),queueMicrotask(()=>{s.isReady=!0;for(let i of[...e()])
this.#e(s,i)}),()=>{this.#t.delete(s)}}emit(t){for(let e of[...this.#t])e.isReady&&this.#e(e,t)}clear(){
this.#t.clear()}#e(t,e){if(this.#t.has(t))try{t.handler(e)}catch(s){f(s)}}};var y=class{#t;#e;#s=[];#i=.8*10;#n=.8*50;#o=0;#a=0;#r=null;constructor(t,e){this.#t=t,this.#e=e}start({
frames_per_second:t=10,frame_burst:e=50}){this.#i=.8*t,this.#n=Math.max(1,Math.floor(.8*e)),this.#o=
this.#n,this.#a=this.#t.now()}clear(){this.#s=[],this.#t.clearTimeout(this.#r),this.#r=null}push(t){
this.#s.push(t),this.#r===null&&this.#c()}pushNow(t){this.#h(),this.#o-=1,this.#e(t)}#h(){let t=this.#t.
now(),e=(t-this.#a)/1e3*this.#i;this.#o=Math.min(this.#n,this.#o+e),this.#a=t}#c(){for(this.#h();this.#o>=
1&&this.#s.length>0;)this.#o-=1,this.#e(this.#s.shift());if(this.#s.length===0)return;let t=Math.ceil(
(1-this.#o)/this.#i*1e3);this.#r=this.#t.setTimeout(()=>{this.#r=null,this.#c()},t)}};var G=500,J=2e4,V=15e3,X=1e3,Y=1e4,Z=1e3,O=1e4,E=3e3,D=9e4,Q=2,tt=8,U=1012,et=1013,T=1006,st=4501,$=[
"online","pageshow","resume","visibilitychange"],it="updates are delayed: the server cannot reach it\
s store",nt="paused while the page is not shown";function p(o,t){return t()*Math.min(J,G*2**o)}function ot(o){
return o===1e3||o>=4500&&o<=4999}var S=class{state={state:"disconnected",reason:"",code:null,delayed:!1};welcome={
type:"welcome"};#t;#e;#s;#i;#n=null;#o=null;#a=0;#r=0;#h=0;#c="";#f=!1;#l=!1;#p=0;#u=0;#d=0;#g=0;#m=!1;#E=0;#w=null;#k="";#T="";constructor(t,e,s){
this.#t=t,this.#e=e,this.#s=s,this.#i=new y(e,i=>this.#n?.send(i))}open(){if(this.state.state!=="dis\
connected")return;let{events:t}=this.#e;for(let e of $)t.addEventListener(e,this.#M);t.addEventListener(
"pagehide",this.#D),this.#b("connecting","",null),this.#v()}#v(){if(this.state.state==="disconnected"||
this.#n!==null)return;this.#w=null,this.#k="",this.#f=!1,this.#u=this.#e.now();let t;try{t=new this.#e.
WebSocket(this.#t)}catch(e){this.#N(String(e),null);return}this.#n=t,t.onmessage=({data:e})=>{t===this.#n&&
this.#x(e)},t.onclose=({code:e,reason:s})=>{t===this.#n&&this.#R(e,s)},this.#S(O,()=>this.#R(T,"no a\
nswer"))}close(t){this.#_(1e3),this.#N(t,null)}get serverNow(){let{now:t,wallClock:e}=this.#e,s=Date.
parse(this.welcome.now);return Number.isNaN(s)?e():s+t()-this.#d}send(t){let e=++this.#E;return this.#i.
push(JSON.stringify({...t,id:e})),e}#x(t){this.#g=this.#e.now(),this.#m=!1;let e=rt(t);switch(e.type){case"":case"\
pong":break;case"welcome":this.#I(e);break;case"store":this.#A(e.available!==!1);break;case"closing":
this.#w=e,this.#S(O,()=>this.#R(T,""));break;default:if(e.type==="error"&&this.state.state!=="connec\
ted"){this.#k=e.message;return}try{this.#s.frame(e)}catch(s){f(s)}}}#I(t){let e=this.#e.now();this.welcome=
t,this.#p=(t.ping??25)*1e3,this.#d=e,this.#T="",this.#i.start(t.limits??{}),this.#y(this.#p),this.#b(
"connected","",null)}#A(t){this.state.state==="connected"&&this.#b("connected",t?"":it,null,!t)}#y(t){
let{now:e,wallClock:s}=this.#e,i=e()+t,n=s()+t;this.#S(t,()=>{let r=e()-i,h=e()-this.#g;r>D?this.#R(
T,"was asleep"):this.#m?this.#R(T,"no answer"):s()-n-r>D?this.#O(E):h>=this.#p?this.#O(O):this.#y(this.#p-
h)})}#O(t){this.#m=!0,this.#i.pushNow(JSON.stringify({type:"ping",id:++this.#E})),this.#y(t)}#M=({type:t})=>{
if(globalThis.document?.visibilityState==="hidden"&&!this.#l)return;let{now:e,random:s}=this.#e;if(this.#n===
null){if(this.#f)return;t!=="online"||this.#l?this.#P():this.#W(s()*X)}else if(this.state.state!=="c\
onnected"){if(e()-this.#u<=E)return;this.#_(),this.#P()}else this.#w===null&&(this.#m?this.#W(E):this.#O(
E))};#P(){this.#l=!1,this.#S(0,null),this.#v()}#W(t){this.#L!==null&&this.#e.now()+t<this.#a&&this.#S(
t,this.#L)}#D=({persisted:t})=>{!t||this.state.state==="disconnected"||(this.#_(1e3),this.#l=!0,this.#f=
!1,this.#b("connecting",nt,null))};#R(t,e){let s=this.#e.now(),i=this.state.state==="connected",n=s-
this.#d,r=this.#w;if(r!==null&&(t=r.code,e=r.message),e=this.#k||e||"connection lost",this.#_(),typeof r?.
reconnect=="boolean"?!r.reconnect:ot(t)){if(this.#N(e,t),t===st)return;this.#C(`${e} (${t}). Nothing\
 is tried until something is subscribed to.`);return}if(!this.#s.isWanted()){this.#N("",null);return}
i&&n>=Z?(this.#h=0,this.#c=""):this.#h+=1,i&&n>=Y&&(this.#r=0),this.#U(t,r?.retry_after),t===et&&this.#C(
`${e} (${t}). Trying again.`),this.#b("connecting",this.#c||e,t),this.#h%tt===Q&&r===null&&this.#$(t)}#U(t,e){
let{random:s}=this.#e,i=p(this.#r++,s);typeof e=="number"?i=(e+s())*1e3:t===U&&(i=s()*V),this.#f=typeof e==
"number"||t===U,this.#S(i,()=>this.#v())}async#$(t){let{reason:e,retryAfter:s}=await this.#s.diagnose();
this.state.state!=="connecting"||this.#h===0||(this.#c=e,s!==null&&this.#n===null&&this.#U(t,s),this.#C(
`no connection: ${e}. Trying again.`),this.#b("connecting",e,this.state.code))}#C(t){t!==this.#T&&(this.#T=
t,this.#e.warn(`realtime: ${t}`))}#_(t){let e=this.#n;this.#n=null,this.#m=!1,this.#i.clear(),this.#S(
0,null),e?.close(t)}#N(t,e){let{events:s}=this.#e;for(let i of $)s.removeEventListener(i,this.#M);s.
removeEventListener("pagehide",this.#D),this.#l=!1,this.#h=0,this.#c="",this.#b("disconnected",t,e)}#L=null;#S(t,e){
let{now:s,setTimeout:i,clearTimeout:n}=this.#e;n(this.#o),this.#L=e,this.#a=s()+t,this.#o=e===null?null:
i(e,t)}#b(t,e,s,i=!1){let n=this.state;this.state={state:t,reason:e,code:s,delayed:i},(t!==n.state||
e!==n.reason)&&this.#s.state(this.state)}};function rt(o){try{let t=JSON.parse(o);if(typeof t?.type==
"string")return t}catch{}return{type:""}}var a=class extends Error{name="RealtimeError";constructor(t,e,s=null){super(e),this.code=t,this.retryAfter=
s}};function w(){let o=globalThis.document?.getElementById("realtime-config")?.textContent;return o?JSON.
parse(o):{}}function C(o){let t=o.WebSocket??globalThis.WebSocket;if(t===void 0)throw new TypeError(
"There is no WebSocket here: use Node 22 or newer, or pass one.");return{fetch:(e,s)=>fetch(e,s),setTimeout:(e,s)=>setTimeout(
e,s),clearTimeout:e=>clearTimeout(e),now:()=>performance.now(),wallClock:()=>Date.now(),random:()=>Math.
random(),warn:e=>console.warn(e),events:typeof globalThis.addEventListener=="function"?globalThis:new EventTarget,
location:globalThis.location?.href,config:o.config??w(),...o,WebSocket:t}}var ht=1e4,L=128,F="signing in is needed: another page answered instead of the service",b=class{#t;#e;canRenew;constructor(t,e){
this.#t=e;let{location:s,config:i}=e,n=new URL(t);n.protocol=n.protocol.replace("ws","http"),this.canRenew=
s!==void 0&&new URL(s).origin===n.origin;let r=i.socket!==void 0&&i.http!==void 0&&s!==void 0&&new URL(
i.socket,s).pathname===n.pathname,h=n.pathname.endsWith("/")?"..":".";this.#e=new URL(r?i.http:h,n)}url(t){
return new URL(t,this.#e).href}async requestToken(t){let{csrf_header:e="X-CSRFToken"}=this.#t.config,
s=await this.#s("tokens/",{method:"POST",headers:{Accept:"application/json","Content-Type":"applicat\
ion/json",[e]:this.#i()},body:JSON.stringify({topics:t})});if(q(s))throw new a("unauthorized",F);let i=await s.
json().catch(()=>({}));if(s.ok){let d=new Set(Object.values(i.refused??[]).map(at));return{token:i.token??
"",refused:d}}let{status:n,url:r}=s,{code:h="internal",message:c=`HTTP ${n} from ${r}`}=i?.error??{};
throw n>=500||n===429?new Error(c):new a(h,c)}async diagnose(){let{location:t}=this.#t,e={Accept:"ap\
plication/json"};this.canRenew&&t&&(e["X-Realtime-Origin"]=new URL(t).origin);let s;try{s=await this.#s(
"ws/",{headers:e})}catch{return{reason:"the server cannot be reached",retryAfter:null}}let i=Number(
s.headers.get("Retry-After")??NaN);return{reason:await ct(s),retryAfter:i>=0?i:null}}async#s(t,e){let s=new AbortController,
i=this.#t.setTimeout(()=>s.abort(),ht);try{return await this.#t.fetch(this.url(t),{credentials:"same\
-origin",cache:"no-store",signal:s.signal,...e})}finally{this.#t.clearTimeout(i)}}#i(){let t={...this.#t.
config,...w()},{csrf_cookie:e="csrftoken",csrf_token:s}=t,{document:i}=globalThis;for(let r of i?.cookie.
split("; ")??[])if(r.startsWith(`${e}=`))return r.slice(e.length+1);return i?.querySelector("input[n\
ame=csrfmiddlewaretoken]")?.value||(s??"")}};function at(o){return typeof o=="string"?o:o.topic}function q(o){
let t=o.headers.get("Content-Type")??"";return o.redirected||o.ok&&t.includes("html")}async function ct(o){
let{status:t}=o;return q(o)||t===401?F:o.ok||t===426?"the server is there, but no WebSocket reaches \
it: a proxy does not pass them on":`${(await o.json().catch(()=>({})))?.error?.message??lt[t]??"the \
server refuses WebSockets"} (${t})`}var lt={403:"the server refuses this page",404:"there is no such\
 service at this address",502:"the server cannot be reached",503:"the server cannot serve now",504:"\
the server does not answer"};function j(o,t,e=0){return o===null||t.epoch!==o.epoch?"gap":t.offset<=o.offset?"drop":t.offset-e<=o.
offset+1?"deliver":"gap"}var ut=new Set(["SUCCESS","FAILURE","REVOKED","LOST"]),z=1e3,ft=1e3;function u(o){return ut.has(o.state)}
function v(o,t){return o.published_at!==null&&t.published_at!==null&&t.published_at>o.published_at}function dt(o,t){
return u(o)&&o.state===t.state&&o.run===t.run&&o.attempt===t.attempt&&!v(o,t)}var A=class{position=null;tasks=new Map;total=0;next=null;#t=new Map;#e=new Map;#s=new Set;#i=null;#n=!1;#o=[];#a;constructor(t){
this.#a=t.startsWith("task:")?t.slice(5):null}get task(){return this.#a===null?null:this.tasks.get(this.#a)??
null}pause(){this.#n=!1,this.#o=[]}subscribed(t){let{epoch:e,offset:s,recovered:i,events:n=[],snapshot:r=[]}=t,
h={news:[],replaced:!1,gap:!1};if(this.#n=!0,i){this.total=t.total??this.total;for(let d of n)this.#r(
{epoch:e,...d},h);(this.position?.epoch!==e||this.position.offset<s)&&(this.position=null,this.#n=!1,
h.gap=!0)}else this.#h({...t,snapshot:r},h);let c=this.#o;this.#o=[];for(let d of c)this.#r(d,h);return this.#n||
(this.#o=[]),h}snapshot(t){let e={news:[],replaced:!1,gap:!1};return this.#h(t,e),e}event(t){let e={
news:[],replaced:!1,gap:!1};return this.#r(t,e),e}page({snapshot:t,next:e=null}){let s={news:[],replaced:!1,
gap:!1};this.next=e;for(let i of t)this.#f(i)||(this.#l(i,s),this.#s.add(i.task_id));return s}#r(t,e){
if(!this.#n){this.#o.push(t),this.#o.length>ft&&this.#o.shift();return}let{epoch:s,offset:i,merged:n,
status:r}=t;switch(j(this.position,{epoch:s,offset:i},n)){case"deliver":if(this.position={epoch:s,offset:i},
this.#s.has(r.task_id)&&this.#f(r))return;this.#l(r,e);break;case"gap":this.#n=!1,this.#o.push(t),e.
gap=!0;break}}#h({epoch:t,offset:e,snapshot:s,total:i=0,next:n=null},r){let h=this.task;this.#a===null?
this.#c(s,n):s.length===0&&h!==null&&!u(h)&&this.#p(h.task_id),(t!==this.#i||e<(this.position?.offset??
0))&&(this.#t.clear(),this.#i=t),this.position={epoch:t,offset:e},this.total=i,this.next=n,r.replaced=
!0;for(let c of s)this.#f(c)||this.#l(c,r)}#c(t,e){let s=new Set(t.map(n=>n.task_id)),i=e===null?void 0:
t.at(-1);for(let[n,r]of this.tasks){let h=i!==void 0&&v(r,i);!s.has(n)&&!h&&this.#p(n)}}#f(t){let e=t.
task_id,s=this.#t.get(e)??0;if(t.version>s)return!1;let i=this.tasks.get(e);return i===void 0||!v(i,
t)}#l(t,e){let s=t.task_id,i=this.#e.get(s),n=this.tasks.get(s)??i;this.#e.delete(s),this.#s.delete(
s),this.#t.delete(s),this.#t.set(s,t.version),this.tasks.set(s,t),this.total=Math.max(this.total,this.
tasks.size);let r=i?.epoch===this.#i&&i.version===t.version&&i.state===t.state&&!v(i,t),h=n!==void 0&&
dt(n,t);if(!r&&!h?e.news.push(t):i!==void 0&&(e.replaced=!0),this.tasks.size>z)for(let[c]of this.#t)
return this.#p(c)}#p(t){let{version:e,state:s,run:i,attempt:n,published_at:r}=this.tasks.get(t);if(this.#e.
set(t,{epoch:this.#i,version:e,state:s,run:i,attempt:n,published_at:r}),this.#e.size>z){let[h]=this.#e.
keys();this.#e.delete(h)}this.tasks.delete(t),this.#t.delete(t),this.#s.delete(t)}};function g(o,t=0){return{token:o,serial:t,endsAt:1/0,renewAt:1/0}}var[H,pt]=[.5,.8],K=3e4,wt=8e3,mt=1e3,
R=class{#t;#e;#s;#i;#n=0;#o=new WeakMap;#a=new Map;#r=new Map;#h=0;#c=null;#f="";constructor(t,e,s,i){
this.#t=t,this.#e=e,this.#s=s,this.#i=i}canRenew({source:t}){return typeof t=="function"||this.#e.canRenew}isNeeded(t){
let{source:e,credential:s}=t;return s.serial===0&&m(e)?!0:s.endsAt<=this.#t.now()&&this.canRenew(t)}async refresh(t){
let{source:e}=t,{serial:s}=t.credential;if(m(e))return t.credential=await this.#g(e,s),!0;let i=this.#r.
get(t.topic);if(i===void 0){let n=[...this.#s()].filter(r=>this.#E(r));i=this.#w([...new Set([t,...n])])}
return await i,t.credential.serial>s}granted(t,e){let{now:s,random:i}=this.#t,{credential:n}=t;if(typeof e!=
"number")return;let r=e*1e3;n.endsAt===1/0&&(n.renewAt=s()+r*(H+(pt-H)*i())),n.endsAt=s()+r,this.#l()}stop(){
this.#t.clearTimeout(this.#c)}#l(){let{now:t,setTimeout:e,clearTimeout:s}=this.#t;s(this.#c);let i=Math.
min(...[...this.#s()].map(n=>n.credential.renewAt));i!==1/0&&(this.#c=e(()=>this.#p(),Math.max(0,i-t())))}async#p(){
if(!this.#i())return;let t=[...this.#s()].filter(i=>i.credential.endsAt<1/0);for(let{credential:i}of t)
i.renewAt=1/0;let e=new Set(t.map(({source:i})=>i).filter(i=>m(i))),s=t.filter(i=>!m(i.source)&&this.
canRenew(i));await Promise.all([...[...e].map(i=>{let n=t.filter(r=>r.source===i);return this.#u(n,()=>this.#d(
i,n))}),this.#u(s,()=>this.#w(s))])}async#u(t,e){if(t.length!==0)try{await e(),this.#h=0}catch(s){if(this.#T(
`tokens are not renewed: ${s.message}`),s instanceof a)return;let i=p(this.#h++,this.#t.random),n=this.#t.
now()+Math.max(mt,i);for(let{credential:r}of t)r.renewAt=n}finally{this.#l()}}async#d(t,e){let s=Math.
max(...e.map(({credential:n})=>n.serial)),i=await this.#g(t,s);for(let n of e)n.credential=i,n.onRenewed()}#g(t,e){
let s=this.#o.get(t);if(s!==void 0&&s.serial>e&&s.endsAt>this.#t.now())return Promise.resolve(s);let i=this.#a.
get(t);return i===void 0&&(i=this.#m(t).finally(()=>this.#a.delete(t)),this.#a.set(t,i)),i}async#m(t){
let{setTimeout:e,clearTimeout:s}=this.#t,i=null,n=new Promise((r,h)=>{let c=new Error(`the token fun\
ction gave no answer in ${K/1e3} s`);i=e(()=>h(c),K)});try{let r=await Promise.race([t(),n])??void 0;
if(r!==void 0&&typeof r!="string")throw new TypeError("realtime: a token function must return a text\
, or a promise of one");let h=g(r,++this.#n);return this.#o.set(t,h),h}catch(r){throw f(r),new Error(
String(r),{cause:r})}finally{s(i)}}#E({source:t,credential:e}){return!m(t)&&e.token!==void 0}async#w(t){
let e=t.slice(0,gt(t)),s=this.#k(e).finally(()=>{for(let{topic:i}of e)this.#r.delete(i)});for(let{topic:i}of e)
this.#r.set(i,s);await s,e.length<t.length&&await this.#w(t.slice(e.length))}async#k(t){let e=t.map(
({topic:r})=>r),{token:s,refused:i}=await this.#e.requestToken(e);if(s==="")return;let n=g(s,++this.#n);
for(let r of t)i.has(r.topic)||(r.credential=n,r.onRenewed())}#T(t){t!==this.#f&&(this.#f=t,this.#t.
warn(`realtime: ${t}`))}};function gt(o){let t=0,e=o.slice(0,L).findIndex(({topic:s})=>(t+=s.replace(
/[^ -~]/g,"......").length+3,t>wt));return e===-1?L:Math.max(1,e)}function m(o){return typeof o=="fu\
nction"}var P=class{id=0;resolve=()=>{};reject=()=>{};constructor(t){this.frame=t,this.promise=new Promise((e,s)=>Object.
assign(this,{resolve:e,reject:s}))}},_=class{source=void 0;credential=g(void 0);isActive=!1;limit=void 0;readers=new Set;topic;#t;#e;#s;#i;#n;#o=0;#a=null;#r=0;#h=!1;#c=!1;#f=0;#l=null;#p=null;#u=null;#d=null;constructor(t,{
connection:e,platform:s,tokens:i,onOver:n,onEnded:r}){this.topic=t,this.#t=e,this.#e=s,this.#s=i,this.#i=
n,this.#n=r,this.feed=new A(t)}get isSettled(){return this.feed.task?.state==="SUCCESS"}get hasEnded(){
return this.feed.task!==null&&u(this.feed.task)}get canYield(){return this.hasEnded&&this.#h&&!this.#u&&
!this.#d}yield(){this.#w()}setSource(t){t!==this.source&&(this.source=t,this.credential=g(typeof t==
"string"?t:void 0),this.#h&&this.ask())}async ask(){if(this.isSettled||this.#l!==null)return;let t=this.#m();
if(this.isActive=!0,this.#s.isNeeded(this)){try{await this.#s.refresh(this)}catch(e){if(!(e instanceof
a)){t===this.#r&&this.#g(()=>this.ask());return}}if(t!==this.#r)return}this.#a=this.credential,this.#o=
this.#t.send({type:"subscribe",topic:this.topic,since:this.feed.position??void 0,token:this.credential.
token,limit:this.limit})}onRenewed(){this.#h&&this.ask()}#g(t,e=p(this.#f++,this.#e.random)){this.#p=
this.#e.setTimeout(t,e)}#m(){return this.#e.clearTimeout(this.#p),++this.#r}pause(){this.#m(),this.isActive=
!1,this.#c=!1,this.#E()}#E(){this.#o=0,this.#h=!1;for(let t of[this.#u,this.#d])t&&(t.id=0);this.feed.
pause()}leave(t){!this.readers.delete(t)||this.readers.size>0||(this.#w(),this.fail(new a("closed","\
The last handle of the topic was closed.")))}#w(){this.#o>0&&this.#t.send({type:"unsubscribe",topic:this.
topic}),this.pause()}fail(t){if(this.#l!==null)return;this.#l=t,this.pause(),this.#i(this),this.#u?.
reject(t),this.#d?.reject(t),this.#u=this.#d=null;let e=[...this.readers];this.readers.clear();for(let s of e)
s.over(t)}cancel(){if(this.isSettled||this.hasEnded&&!this.isActive)return Promise.resolve();let t=this.
topic.slice(5);return this.#u??=this.#k({type:"cancel",task_id:t}),this.#u.promise}more(t){if(this.feed.
position!==null&&this.feed.next===null)return Promise.resolve();let{topic:e,feed:s}=this;return this.#d??=
this.#k(()=>({type:"page",topic:e,after:s.next,limit:t})),this.#d.promise}#k(t){let e=new P(typeof t==
"function"?t:()=>t);return this.#l!==null?e.reject(this.#l):this.#h&&(e.id=this.#t.send(e.frame())),
e}#T(){for(let t of[this.#u,this.#d])t?.id===0&&(t.id=this.#t.send(t.frame()))}onFrame(t){switch(t.type){case"\
event":this.#y(this.feed.event(t));break;case"snapshot":this.#y(this.feed.snapshot(t));break;case"un\
subscribed":this.#I(new a(t.code,t.message));break}}onAnswer(t){if(t.id===this.#o)t.type==="subscrib\
ed"?this.#v(t):t.type==="error"&&this.#x(M(t));else if(t.id===this.#u?.id)t.type==="cancelled"?this.#u?.
resolve():this.#u?.reject(M(t)),this.#u=null;else if(t.id===this.#d?.id){let e=this.#d;this.#d=null,
t.type==="page"&&this.#y(this.feed.page(t)),t.type==="page"?e?.resolve():e?.reject(M(t))}}#v(t){this.#f=
0,this.#h=!0,this.#c=!1,this.#s.granted(this,t.expires_in),this.#y(this.feed.subscribed(t)),this.#h&&
this.#T()}#x(t){let{code:e,retryAfter:s}=t;this.#o=0,this.#h=!1,e==="limit"&&s!==null?this.#g(()=>this.
ask(),(s+this.#e.random())*1e3):e==="internal"?this.#g(()=>this.ask()):e==="unauthorized"?this.#A(t):
this.fail(t)}#I(t){this.#E(),t.code==="unauthorized"?this.#A(t):this.fail(t)}async#A(t){if(this.#c||
!this.#s.canRenew(this)){this.fail(t);return}let e=this.#m();this.#c=!0;let s=this.credential!==this.#a,
{message:i}=t;try{s||=await this.#s.refresh(this)}catch(n){if(e!==this.#r)return;if(!(n instanceof a)){
this.#c=!1,this.#g(()=>this.#A(t));return}i+=` (${n.message})`}e===this.#r&&(s?this.ask():this.fail(
new a(t.code,i)))}#y(t){this.isSettled?(this.#w(),this.#u?.resolve(),this.#u=null,this.#i(this)):t.gap&&
this.ask();for(let e of[...this.readers])e.change(t);this.hasEnded&&!this.isSettled&&this.#n()}};function M({
code:o,message:t,retry_after:e=null}){return new a(o,t,e)}var kt=5e3,yt=128,k=class{site;#t;#e;#s;#i=new Map;states=new l;#n=null;#o=!1;constructor(t,e){this.#e=
e,this.site=new b(t,e),this.#t=new S(t,e,{state:s=>this.#l(s),frame:s=>this.#p(s),isWanted:()=>this.#i.
size>0,diagnose:()=>this.site.diagnose()}),this.#s=new R(e,this.site,()=>this.#i.values(),()=>this.state.
state==="connected")}get state(){return this.#t.state}get serverNow(){return this.#t.serverNow}subscribe(t,{
token:e,limit:s}){if(e!=null&&typeof e!="string"&&typeof e!="function")throw new TypeError("realtime\
: a token is a text, or a function that returns one");let i=this.#i.get(t),n=i??new _(t,{connection:this.#t,
platform:this.#e,tokens:this.#s,onOver:r=>this.#f(r),onEnded:()=>this.#h()});return this.#i.set(t,n),
n.limit=s??n.limit,e!=null&&n.setSource(e),this.#e.clearTimeout(this.#n),i===void 0&&queueMicrotask(
()=>this.#a(n)),n}closeIfIdle(){this.#i.size>0||(this.#e.clearTimeout(this.#n),this.#t.close("closed"))}#a(t){
this.#i.get(t.topic)===t&&(this.state.state==="connected"?this.#r():this.#t.open())}#r(){let{subscriptions:t=yt}=this.#t.
welcome.limits??{},e=[...this.#i.values()],s=t-e.filter(({isActive:n})=>n).length,i=e.filter(({isActive:n})=>!n);
for(let n of i.filter(({hasEnded:r})=>!r)){if(s<=0){let r=e.find(({canYield:h})=>h);if(r===void 0){this.#c(
t);return}r.yield(),s+=1}s-=1,n.ask()}for(let n of i.filter(({hasEnded:r})=>r).slice(0,s))n.ask()}#h(){
this.state.state==="connected"&&this.#r()}#c(t){this.#o||(this.#o=!0,this.#e.warn(`realtime: the ser\
ver allows ${t} subscriptions on a connection. Others wait until some have ended; close handles that\
 you no longer need, or subscribe to a topic of many tasks.`))}#f(t){if(this.#i.get(t.topic)!==t)return;
this.#i.delete(t.topic);let{state:e}=this.state;if(e==="connected"&&this.#r(),this.#i.size>0||e==="d\
isconnected")return;let{setTimeout:s,clearTimeout:i}=this.#e;i(this.#n),this.#n=s(()=>this.#t.close(
""),kt)}#l(t){let e=[...this.#i.values()];if(t.state!=="connected")for(let s of e)s.pause();else this.#r();
if(t.state==="disconnected"){this.#s.stop(),this.#e.clearTimeout(this.#n);for(let s of e)s.fail(new a(
"disconnected",t.reason))}this.states.emit(t)}#p(t){if(t.id>0)for(let e of[...this.#i.values()])e.onAnswer(
t);else t.topic!==void 0?this.#i.get(t.topic)?.onFrame(t):t.type==="error"&&f(new a(t.code,t.message))}};
function B(o,t){let e=globalThis,s=e[Symbol.for("realtime.1")]??=new Map,i=s.get(o);return i===void 0&&
(i=new k(o,t()),s.set(o,i)),i}var N=class{#t;#e;#s=null;#i=()=>{};#n=new l;#o=new l;constructor(t){this.#t=t,this.#e={change:e=>this.
onChange(e),over:e=>this.#a(e)},t.readers.add(this.#e)}onStatus(t){return this.#n.add(t,()=>this.subscription.
feed.tasks.values())}onError(t){return this.onOver(e=>{e.code!=="closed"&&t(e)})}close(){this.#s===null&&
(this.#a(new a("closed","The handle was closed.")),this.#t.leave(this.#e))}get subscription(){return this.#t}onOver(t){
return this.#o.add(t,()=>this.#s===null?[]:[this.#s])}onChange({news:t}){for(let e of t)this.#n.emit(
e)}onClosed(t){this.#i=t}#a(t){this.#s=t,this.#n.clear(),this.#i(),this.#o.emit(t)}},x=class extends N{#t=new l;#e=!1;constructor(t,e){
super(e),this.id=t}get status(){return this.subscription.feed.task}onProgress(t){return this.onStatus(
e=>{e.progress!==null&&t(e.progress,e)})}onEnd(t){return this.onStatus(e=>{u(e)&&t(e)})}onGone(t){return this.#t.
add(t,()=>[])}close(){this.#t.clear(),super.close()}done(){return new Promise((t,e)=>{let s=[this.onEnd(
n=>{i(),t(n)}),this.onOver(n=>{i(),e(n)})],i=()=>s.forEach(n=>n())})}cancel(){return this.subscription.
cancel()}onChange(t){let e=this.status!==null;this.#e&&!e&&this.#t.emit(),this.#e=e,super.onChange(t)}async*[Symbol.
asyncIterator](){let t=[],e=null,s=()=>{},i=[this.onStatus(n=>{t.at(-1)?.state===n.state&&t.pop(),t.
push(n),s()}),this.onOver(n=>{e=n,s()})];try{for(;;){let n=t.shift();if(n!==void 0){if(yield n,u(n))
return}else if(e!==null){if(e.code==="closed")return;throw e}else await new Promise(r=>{s=()=>r(void 0)})}}finally{
for(let n of i)n()}}},I=class extends N{#t=new l;constructor(t,e){super(e),this.name=t}get tasks(){return this.
subscription.feed.tasks}get total(){return this.subscription.feed.total}get hasMore(){return this.subscription.
feed.next!==null}more(t){return this.subscription.more(t)}onSnapshot(t){let{feed:e}=this.subscription;
return this.#t.add(t,()=>e.position===null?[]:[e.tasks])}close(){this.#t.clear(),super.close()}onChange(t){
t.replaced&&this.#t.emit(this.tasks),super.onChange(t)}};var Et="/realtime/ws/";function he(o,t){return new W(o,t)}function Tt(o){if(/^[A-Za-z0-9_-]+$/.test(
o))return o;let t=new TextEncoder().encode(o);return`~${btoa(String.fromCharCode(...t)).replaceAll("\
+","-").replaceAll("/","_").replaceAll("=","")}`}var W=class extends EventTarget{#t;#e=new Set;#s=!1;constructor(t,e){
super();let s=e?.location??globalThis.location?.href,i=e?.config??w(),n=new URL(t??i.socket??Et,s);n.
protocol=n.protocol.replace("http","ws"),this.#t=e===void 0?B(n.href,()=>C({config:i})):new k(n.href,
C({...e,config:i}))}get state(){return this.#t.state}get serverTime(){return new Date(this.#t.serverNow)}onState(t){
return this.#t.states.add(t,()=>[this.state])}addEventListener(t,e,s){if(super.addEventListener(t,e,
s),t!=="state"||this.#s)return;this.#s=!0;let i=this.state;this.onState(n=>{n!==i&&(i=n,this.dispatchEvent(
new CustomEvent("state",{detail:n})))})}task(t,e={}){return this.#i(new x(t,this.#t.subscribe(`task:${t}`,
e)))}topic(t,e={}){return this.#i(new I(t,this.#t.subscribe(t,e)))}async requestToken(t){let{token:e,
refused:s}=await this.#t.site.requestToken(t);if(e!==""&&s.size===0)return e;throw new a("not_found",
"no such topic, or not for you")}resultUrl(t){return this.#t.site.url(`tasks/${Tt(t)}/result/`)}close(){
for(let t of[...this.#e])t.close();this.#t.closeIfIdle()}#i(t){return this.#e.add(t),t.onClosed(()=>this.#e.
delete(t)),t}};export{W as Realtime,a as RealtimeError,x as TaskHandle,I as TopicHandle,he as connect,Tt as idPath,
u as isTerminal};
