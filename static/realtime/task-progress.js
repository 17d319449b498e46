/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
function f(o){typeof globalThis.reportError=="function"?globalThis.reportError(o):console.error(o)}var u=class{#t=new Set;add(t,e){
let s={handler:t,isReady:!1};return this.#t.add(s),queueMicrotask(()=>{s.isReady=!0;for(let i of[...e()])
this.#e(s,i)}),()=>{this.#t.delete(s)}}emit(t){for(let e of[...this.#t])e.isReady&&this.#e(e,t)}clear(){
this.#t.clear()}#e(t,e){if(this.#t.has(t))try{t.handler(e)}catch(s){f(s)}}};var y=class{#t;#e;#s=[];#i=.8*10;#n=.8*50;#o=0;#a=0;#r=null;constructor(t,e){this.#t=t,this.#e=e}start({
frames_per_second:t=10,frame_burst:e=50}){this.#i=.8*t,this.#n=Math.max(1,Math.floor(.8*e)),this.#o=
this.#n,this.#a=this.#t.now()}clear(){this.#s=[],this.#t.clearTimeout(this.#r),this.#r=null}push(t){
this.#s.push(t),this.#r===null&&this.#c()}pushNow(t){this.#h(),this.#o-=1,this.#e(t)}#h(){let t=this.#t.
now(),e=(t-this.#a)/1e3*this.#i;this.#o=Math.min(this.#n,this.#o+e),this.#a=t}#c(){for(this.#h();this.#o>=
1&&this.#s.length>0;)this.#o-=1,this.#e(this.#s.shift());if(this.#s.length===0)return;let t=Math.ceil(
(1-this.#o)/this.#i*1e3);this.#r=this.#t.setTimeout(()=>{this.#r=null,this.#c()},t)}};var tt=500,et=2e4,st=15e3,it=1e3,nt=1e4,ot=1e3,I=1e4,E=3e3,z=9e4,rt=2,ht=8,K=1012,at=1013,T=1006,ct=4501,
H=["online","pageshow","resume","visibilitychange"],lt="updates are delayed: the server cannot reach\
 its store",ut="paused while the page is not shown";function m(o,t){return t()*Math.min(et,tt*2**o)}
function ft(o){return o===1e3||o>=4500&&o<=4999}var S=class{state={state:"disconnected",reason:"",code:null,
delayed:!1};welcome={type:"welcome"};#t;#e;#s;#i;#n=null;#o=null;#a=0;#r=0;#h=0;#c="";#f=!1;#l=!1;#p=0;#u=0;#d=0;#k=0;#b=!1;#T=0;#g=null;#w="";#y="";constructor(t,e,s){
this.#t=t,this.#e=e,this.#s=s,this.#i=new y(e,i=>this.#n?.send(i))}open(){if(this.state.state!=="dis\
connected")return;let{events:t}=this.#e;for(let e of H)t.addEventListener(e,this.#P);t.addEventListener(
"pagehide",this.#W),this.#x("connecting","",null),this.#v()}#v(){if(this.state.state==="disconnected"||
this.#n!==null)return;this.#g=null,this.#w="",this.#f=!1,this.#u=this.#e.now();let t;try{t=new this.#e.
WebSocket(this.#t)}catch(e){this.#N(String(e),null);return}this.#n=t,t.onmessage=({data:e})=>{t===this.#n&&
this.#S(e)},t.onclose=({code:e,reason:s})=>{t===this.#n&&this.#C(e,s)},this.#R(I,()=>this.#C(T,"no a\
nswer"))}close(t){this.#_(1e3),this.#N(t,null)}get serverNow(){let{now:t,wallClock:e}=this.#e,s=Date.
parse(this.welcome.now);return Number.isNaN(s)?e():s+t()-this.#d}send(t){let e=++this.#T;return this.#i.
push(JSON.stringify({...t,id:e})),e}#S(t){this.#k=this.#e.now(),this.#b=!1;let e=dt(t);switch(e.type){case"":case"\
pong":break;case"welcome":this.#m(e);break;case"store":this.#A(e.available!==!1);break;case"closing":
this.#g=e,this.#R(I,()=>this.#C(T,""));break;default:if(e.type==="error"&&this.state.state!=="connec\
ted"){this.#w=e.message;return}try{this.#s.frame(e)}catch(s){f(s)}}}#m(t){let e=this.#e.now();this.welcome=
t,this.#p=(t.ping??25)*1e3,this.#d=e,this.#y="",this.#i.start(t.limits??{}),this.#E(this.#p),this.#x(
"connected","",null)}#A(t){this.state.state==="connected"&&this.#x("connected",t?"":lt,null,!t)}#E(t){
let{now:e,wallClock:s}=this.#e,i=e()+t,n=s()+t;this.#R(t,()=>{let r=e()-i,h=e()-this.#k;r>z?this.#C(
T,"was asleep"):this.#b?this.#C(T,"no answer"):s()-n-r>z?this.#O(E):h>=this.#p?this.#O(I):this.#E(this.#p-
h)})}#O(t){this.#b=!0,this.#i.pushNow(JSON.stringify({type:"ping",id:++this.#T})),this.#E(t)}#P=({type:t})=>{
if(globalThis.document?.visibilityState==="hidden"&&!this.#l)return;let{now:e,random:s}=this.#e;if(this.#n===
null){if(this.#f)return;t!=="online"||this.#l?this.#$():this.#M(s()*it)}else if(this.state.state!=="\
connected"){if(e()-this.#u<=E)return;this.#_(),this.#$()}else this.#g===null&&(this.#b?this.#M(E):this.#O(
E))};#$(){this.#l=!1,this.#R(0,null),this.#v()}#M(t){this.#L!==null&&this.#e.now()+t<this.#a&&this.#R(
t,this.#L)}#W=({persisted:t})=>{!t||this.state.state==="disconnected"||(this.#_(1e3),this.#l=!0,this.#f=
!1,this.#x("connecting",ut,null))};#C(t,e){let s=this.#e.now(),i=this.state.state==="connected",n=s-
this.#d,r=this.#g;if(r!==null&&(t=r.code,e=r.message),e=this.#w||e||"connection lost",this.#_(),typeof r?.
reconnect=="boolean"?!r.reconnect:ft(t)){if(this.#N(e,t),t===ct)return;this.#I(`${e} (${t}). Nothing\
 is tried until something is subscribed to.`);return}if(!this.#s.isWanted()){this.#N("",null);return}
i&&n>=ot?(this.#h=0,this.#c=""):this.#h+=1,i&&n>=nt&&(this.#r=0),this.#D(t,r?.retry_after),t===at&&this.#I(
`${e} (${t}). Trying again.`),this.#x("connecting",this.#c||e,t),this.#h%ht===rt&&r===null&&this.#U(
t)}#D(t,e){let{random:s}=this.#e,i=m(this.#r++,s);typeof e=="number"?i=(e+s())*1e3:t===K&&(i=s()*st),
this.#f=typeof e=="number"||t===K,this.#R(i,()=>this.#v())}async#U(t){let{reason:e,retryAfter:s}=await this.#s.
diagnose();this.state.state!=="connecting"||this.#h===0||(this.#c=e,s!==null&&this.#n===null&&this.#D(
t,s),this.#I(`no connection: ${e}. Trying again.`),this.#x("connecting",e,this.state.code))}#I(t){t!==
this.#y&&(this.#y=t,this.#e.warn(`realtime: ${t}`))}#_(t){let e=this.#n;this.#n=null,this.#b=!1,this.#i.
clear(),this.#R(0,null),e?.close(t)}#N(t,e){let{events:s}=this.#e;for(let i of H)s.removeEventListener(
i,this.#P);s.removeEventListener("pagehide",this.#W),this.#l=!1,this.#h=0,this.#c="",this.#x("discon\
nected",t,e)}#L=null;#R(t,e){let{now:s,setTimeout:i,clearTimeout:n}=this.#e;n(this.#o),this.#L=e,this.#a=
s()+t,this.#o=e===null?null:i(e,t)}#x(t,e,s,i=!1){let n=this.state;this.state={state:t,reason:e,code:s,
delayed:i},(t!==n.state||e!==n.reason)&&this.#s.state(this.state)}};function dt(o){try{let t=JSON.parse(
o);if(typeof t?.type=="string")return t}catch{}return{type:""}}var a=class extends Error{name="RealtimeError";constructor(t,e,s=null){super(e),this.code=t,this.retryAfter=
s}};function p(){let o=globalThis.document?.getElementById("realtime-config")?.textContent;return o?JSON.
parse(o):{}}function L(o){let t=o.WebSocket??globalThis.WebSocket;if(t===void 0)throw new TypeError(
"There is no WebSocket here: use Node 22 or newer, or pass one.");return{fetch:(e,s)=>fetch(e,s),setTimeout:(e,s)=>setTimeout(
e,s),clearTimeout:e=>clearTimeout(e),now:()=>performance.now(),wallClock:()=>Date.now(),random:()=>Math.
random(),warn:e=>console.warn(e),events:typeof globalThis.addEventListener=="function"?globalThis:new EventTarget,
location:globalThis.location?.href,config:o.config??p(),...o,WebSocket:t}}var pt=1e4,P=128,G="signing in is needed: another page answered instead of the service",v=class{#t;#e;canRenew;constructor(t,e){
this.#t=e;let{location:s,config:i}=e,n=new URL(t);n.protocol=n.protocol.replace("ws","http"),this.canRenew=
s!==void 0&&new URL(s).origin===n.origin;let r=i.socket!==void 0&&i.http!==void 0&&s!==void 0&&new URL(
i.socket,s).pathname===n.pathname,h=n.pathname.endsWith("/")?"..":".";this.#e=new URL(r?i.http:h,n)}url(t){
return new URL(t,this.#e).href}async requestToken(t){let{csrf_header:e="X-CSRFToken"}=this.#t.config,
s=await this.#s("tokens/",{method:"POST",headers:{Accept:"application/json","Content-Type":"applicat\
ion/json",[e]:this.#i()},body:JSON.stringify({topics:t})});if(B(s))throw new a("unauthorized",G);let i=await s.
json().catch(()=>({}));if(s.ok){let d=new Set(Object.values(i.refused??[]).map(wt));return{token:i.token??
"",refused:d}}let{status:n,url:r}=s,{code:h="internal",message:l=`HTTP ${n} from ${r}`}=i?.error??{};
throw n>=500||n===429?new Error(l):new a(h,l)}async diagnose(){let{location:t}=this.#t,e={Accept:"ap\
plication/json"};this.canRenew&&t&&(e["X-Realtime-Origin"]=new URL(t).origin);let s;try{s=await this.#s(
"ws/",{headers:e})}catch{return{reason:"the server cannot be reached",retryAfter:null}}let i=Number(
s.headers.get("Retry-After")??NaN);return{reason:await mt(s),retryAfter:i>=0?i:null}}async#s(t,e){let s=new AbortController,
i=this.#t.setTimeout(()=>s.abort(),pt);try{return await this.#t.fetch(this.url(t),{credentials:"same\
-origin",cache:"no-store",signal:s.signal,...e})}finally{this.#t.clearTimeout(i)}}#i(){let t={...this.#t.
config,...p()},{csrf_cookie:e="csrftoken",csrf_token:s}=t,{document:i}=globalThis;for(let r of i?.cookie.
split("; ")??[])if(r.startsWith(`${e}=`))return r.slice(e.length+1);return i?.querySelector("input[n\
ame=csrfmiddlewaretoken]")?.value||(s??"")}};function wt(o){return typeof o=="string"?o:o.topic}function B(o){
let t=o.headers.get("Content-Type")??"";return o.redirected||o.ok&&t.includes("html")}async function mt(o){
let{status:t}=o;return B(o)||t===401?G:o.ok||t===426?"the server is there, but no WebSocket reaches \
it: a proxy does not pass them on":`${(await o.json().catch(()=>({})))?.error?.message??gt[t]??"the \
server refuses WebSockets"} (${t})`}var gt={403:"the server refuses this page",404:"there is no such\
 service at this address",502:"the server cannot be reached",503:"the server cannot serve now",504:"\
the server does not answer"};function J(o,t,e=0){return o===null||t.epoch!==o.epoch?"gap":t.offset<=o.offset?"drop":t.offset-e<=o.
offset+1?"deliver":"gap"}var kt=new Set(["SUCCESS","FAILURE","REVOKED","LOST"]),V=1e3,bt=1e3;function c(o){return kt.has(o.state)}
function A(o,t){return o.published_at!==null&&t.published_at!==null&&t.published_at>o.published_at}function yt(o,t){
return c(o)&&o.state===t.state&&o.run===t.run&&o.attempt===t.attempt&&!A(o,t)}var R=class{position=null;tasks=new Map;total=0;next=null;#t=new Map;#e=new Map;#s=new Set;#i=null;#n=!1;#o=[];#a;constructor(t){
this.#a=t.startsWith("task:")?t.slice(5):null}get task(){return this.#a===null?null:this.tasks.get(this.#a)??
null}pause(){this.#n=!1,this.#o=[]}subscribed(t){let{epoch:e,offset:s,recovered:i,events:n=[],snapshot:r=[]}=t,
h={news:[],replaced:!1,gap:!1};if(this.#n=!0,i){this.total=t.total??this.total;for(let d of n)this.#r(
{epoch:e,...d},h);(this.position?.epoch!==e||this.position.offset<s)&&(this.position=null,this.#n=!1,
h.gap=!0)}else this.#h({...t,snapshot:r},h);let l=this.#o;this.#o=[];for(let d of l)this.#r(d,h);return this.#n||
(this.#o=[]),h}snapshot(t){let e={news:[],replaced:!1,gap:!1};return this.#h(t,e),e}event(t){let e={
news:[],replaced:!1,gap:!1};return this.#r(t,e),e}page({snapshot:t,next:e=null}){let s={news:[],replaced:!1,
gap:!1};this.next=e;for(let i of t)this.#f(i)||(this.#l(i,s),this.#s.add(i.task_id));return s}#r(t,e){
if(!this.#n){this.#o.push(t),this.#o.length>bt&&this.#o.shift();return}let{epoch:s,offset:i,merged:n,
status:r}=t;switch(J(this.position,{epoch:s,offset:i},n)){case"deliver":if(this.position={epoch:s,offset:i},
this.#s.has(r.task_id)&&this.#f(r))return;this.#l(r,e);break;case"gap":this.#n=!1,this.#o.push(t),e.
gap=!0;break}}#h({epoch:t,offset:e,snapshot:s,total:i=0,next:n=null},r){let h=this.task;this.#a===null?
this.#c(s,n):s.length===0&&h!==null&&!c(h)&&this.#p(h.task_id),(t!==this.#i||e<(this.position?.offset??
0))&&(this.#t.clear(),this.#i=t),this.position={epoch:t,offset:e},this.total=i,this.next=n,r.replaced=
!0;for(let l of s)this.#f(l)||this.#l(l,r)}#c(t,e){let s=new Set(t.map(n=>n.task_id)),i=e===null?void 0:
t.at(-1);for(let[n,r]of this.tasks){let h=i!==void 0&&A(r,i);!s.has(n)&&!h&&this.#p(n)}}#f(t){let e=t.
task_id,s=this.#t.get(e)??0;if(t.version>s)return!1;let i=this.tasks.get(e);return i===void 0||!A(i,
t)}#l(t,e){let s=t.task_id,i=this.#e.get(s),n=this.tasks.get(s)??i;this.#e.delete(s),this.#s.delete(
s),this.#t.delete(s),this.#t.set(s,t.version),this.tasks.set(s,t),this.total=Math.max(this.total,this.
tasks.size);let r=i?.epoch===this.#i&&i.version===t.version&&i.state===t.state&&!A(i,t),h=n!==void 0&&
yt(n,t);if(!r&&!h?e.news.push(t):i!==void 0&&(e.replaced=!0),this.tasks.size>V)for(let[l]of this.#t)
return this.#p(l)}#p(t){let{version:e,state:s,run:i,attempt:n,published_at:r}=this.tasks.get(t);if(this.#e.
set(t,{epoch:this.#i,version:e,state:s,run:i,attempt:n,published_at:r}),this.#e.size>V){let[h]=this.#e.
keys();this.#e.delete(h)}this.tasks.delete(t),this.#t.delete(t),this.#s.delete(t)}};function k(o,t=0){return{token:o,serial:t,endsAt:1/0,renewAt:1/0}}var[X,Et]=[.5,.8],Y=3e4,Tt=8e3,St=1e3,
x=class{#t;#e;#s;#i;#n=0;#o=new WeakMap;#a=new Map;#r=new Map;#h=0;#c=null;#f="";constructor(t,e,s,i){
this.#t=t,this.#e=e,this.#s=s,this.#i=i}canRenew({source:t}){return typeof t=="function"||this.#e.canRenew}isNeeded(t){
let{source:e,credential:s}=t;return s.serial===0&&g(e)?!0:s.endsAt<=this.#t.now()&&this.canRenew(t)}async refresh(t){
let{source:e}=t,{serial:s}=t.credential;if(g(e))return t.credential=await this.#k(e,s),!0;let i=this.#r.
get(t.topic);if(i===void 0){let n=[...this.#s()].filter(r=>this.#T(r));i=this.#g([...new Set([t,...n])])}
return await i,t.credential.serial>s}granted(t,e){let{now:s,random:i}=this.#t,{credential:n}=t;if(typeof e!=
"number")return;let r=e*1e3;n.endsAt===1/0&&(n.renewAt=s()+r*(X+(Et-X)*i())),n.endsAt=s()+r,this.#l()}stop(){
this.#t.clearTimeout(this.#c)}#l(){let{now:t,setTimeout:e,clearTimeout:s}=this.#t;s(this.#c);let i=Math.
min(...[...this.#s()].map(n=>n.credential.renewAt));i!==1/0&&(this.#c=e(()=>this.#p(),Math.max(0,i-t())))}async#p(){
if(!this.#i())return;let t=[...this.#s()].filter(i=>i.credential.endsAt<1/0);for(let{credential:i}of t)
i.renewAt=1/0;let e=new Set(t.map(({source:i})=>i).filter(i=>g(i))),s=t.filter(i=>!g(i.source)&&this.
canRenew(i));await Promise.all([...[...e].map(i=>{let n=t.filter(r=>r.source===i);return this.#u(n,()=>this.#d(
i,n))}),this.#u(s,()=>this.#g(s))])}async#u(t,e){if(t.length!==0)try{await e(),this.#h=0}catch(s){if(this.#y(
`tokens are not renewed: ${s.message}`),s instanceof a)return;let i=m(this.#h++,this.#t.random),n=this.#t.
now()+Math.max(St,i);for(let{credential:r}of t)r.renewAt=n}finally{this.#l()}}async#d(t,e){let s=Math.
max(...e.map(({credential:n})=>n.serial)),i=await this.#k(t,s);for(let n of e)n.credential=i,n.onRenewed()}#k(t,e){
let s=this.#o.get(t);if(s!==void 0&&s.serial>e&&s.endsAt>this.#t.now())return Promise.resolve(s);let i=this.#a.
get(t);return i===void 0&&(i=this.#b(t).finally(()=>this.#a.delete(t)),this.#a.set(t,i)),i}async#b(t){
let{setTimeout:e,clearTimeout:s}=this.#t,i=null,n=new Promise((r,h)=>{let l=new Error(`the token fun\
ction gave no answer in ${Y/1e3} s`);i=e(()=>h(l),Y)});try{let r=await Promise.race([t(),n])??void 0;
if(r!==void 0&&typeof r!="string")throw new TypeError("realtime: a token function must return a text\
, or a promise of one");let h=k(r,++this.#n);return this.#o.set(t,h),h}catch(r){throw f(r),new Error(
String(r),{cause:r})}finally{s(i)}}#T({source:t,credential:e}){return!g(t)&&e.token!==void 0}async#g(t){
let e=t.slice(0,vt(t)),s=this.#w(e).finally(()=>{for(let{topic:i}of e)this.#r.delete(i)});for(let{topic:i}of e)
this.#r.set(i,s);await s,e.length<t.length&&await this.#g(t.slice(e.length))}async#w(t){let e=t.map(
({topic:r})=>r),{token:s,refused:i}=await this.#e.requestToken(e);if(s==="")return;let n=k(s,++this.#n);
for(let r of t)i.has(r.topic)||(r.credential=n,r.onRenewed())}#y(t){t!==this.#f&&(this.#f=t,this.#t.
warn(`realtime: ${t}`))}};function vt(o){let t=0,e=o.slice(0,P).findIndex(({topic:s})=>(t+=s.replace(
/[^ -~]/g,"......").length+3,t>Tt));return e===-1?P:Math.max(1,e)}function g(o){return typeof o=="fu\
nction"}var M=class{id=0;resolve=()=>{};reject=()=>{};constructor(t){this.frame=t,this.promise=new Promise((e,s)=>Object.
assign(this,{resolve:e,reject:s}))}},C=class{source=void 0;credential=k(void 0);isActive=!1;limit=void 0;readers=new Set;topic;#t;#e;#s;#i;#n;#o=0;#a=null;#r=0;#h=!1;#c=!1;#f=0;#l=null;#p=null;#u=null;#d=null;constructor(t,{
connection:e,platform:s,tokens:i,onOver:n,onEnded:r}){this.topic=t,this.#t=e,this.#e=s,this.#s=i,this.#i=
n,this.#n=r,this.feed=new R(t)}get isSettled(){return this.feed.task?.state==="SUCCESS"}get hasEnded(){
return this.feed.task!==null&&c(this.feed.task)}get canYield(){return this.hasEnded&&this.#h&&!this.#u&&
!this.#d}yield(){this.#g()}setSource(t){t!==this.source&&(this.source=t,this.credential=k(typeof t==
"string"?t:void 0),this.#h&&this.ask())}async ask(){if(this.isSettled||this.#l!==null)return;let t=this.#b();
if(this.isActive=!0,this.#s.isNeeded(this)){try{await this.#s.refresh(this)}catch(e){if(!(e instanceof
a)){t===this.#r&&this.#k(()=>this.ask());return}}if(t!==this.#r)return}this.#a=this.credential,this.#o=
this.#t.send({type:"subscribe",topic:this.topic,since:this.feed.position??void 0,token:this.credential.
token,limit:this.limit})}onRenewed(){this.#h&&this.ask()}#k(t,e=m(this.#f++,this.#e.random)){this.#p=
this.#e.setTimeout(t,e)}#b(){return this.#e.clearTimeout(this.#p),++this.#r}pause(){this.#b(),this.isActive=
!1,this.#c=!1,this.#T()}#T(){this.#o=0,this.#h=!1;for(let t of[this.#u,this.#d])t&&(t.id=0);this.feed.
pause()}leave(t){!this.readers.delete(t)||this.readers.size>0||(this.#g(),this.fail(new a("closed","\
The last handle of the topic was closed.")))}#g(){this.#o>0&&this.#t.send({type:"unsubscribe",topic:this.
topic}),this.pause()}fail(t){if(this.#l!==null)return;this.#l=t,this.pause(),this.#i(this),this.#u?.
reject(t),this.#d?.reject(t),this.#u=this.#d=null;let e=[...this.readers];this.readers.clear();for(let s of e)
s.over(t)}cancel(){if(this.isSettled||this.hasEnded&&!this.isActive)return Promise.resolve();let t=this.
topic.slice(5);return this.#u??=this.#w({type:"cancel",task_id:t}),this.#u.promise}more(t){if(this.feed.
position!==null&&this.feed.next===null)return Promise.resolve();let{topic:e,feed:s}=this;return this.#d??=
this.#w(()=>({type:"page",topic:e,after:s.next,limit:t})),this.#d.promise}#w(t){let e=new M(typeof t==
"function"?t:()=>t);return this.#l!==null?e.reject(this.#l):this.#h&&(e.id=this.#t.send(e.frame())),
e}#y(){for(let t of[this.#u,this.#d])t?.id===0&&(t.id=this.#t.send(t.frame()))}onFrame(t){switch(t.type){case"\
event":this.#E(this.feed.event(t));break;case"snapshot":this.#E(this.feed.snapshot(t));break;case"un\
subscribed":this.#m(new a(t.code,t.message));break}}onAnswer(t){if(t.id===this.#o)t.type==="subscrib\
ed"?this.#v(t):t.type==="error"&&this.#S($(t));else if(t.id===this.#u?.id)t.type==="cancelled"?this.#u?.
resolve():this.#u?.reject($(t)),this.#u=null;else if(t.id===this.#d?.id){let e=this.#d;this.#d=null,
t.type==="page"&&this.#E(this.feed.page(t)),t.type==="page"?e?.resolve():e?.reject($(t))}}#v(t){this.#f=
0,this.#h=!0,this.#c=!1,this.#s.granted(this,t.expires_in),this.#E(this.feed.subscribed(t)),this.#h&&
this.#y()}#S(t){let{code:e,retryAfter:s}=t;this.#o=0,this.#h=!1,e==="limit"&&s!==null?this.#k(()=>this.
ask(),(s+this.#e.random())*1e3):e==="internal"?this.#k(()=>this.ask()):e==="unauthorized"?this.#A(t):
this.fail(t)}#m(t){this.#T(),t.code==="unauthorized"?this.#A(t):this.fail(t)}async#A(t){if(this.#c||
!this.#s.canRenew(this)){this.fail(t);return}let e=this.#b();this.#c=!0;let s=this.credential!==this.#a,
{message:i}=t;try{s||=await this.#s.refresh(this)}catch(n){if(e!==this.#r)return;if(!(n instanceof a)){
this.#c=!1,this.#k(()=>this.#A(t));return}i+=` (${n.message})`}e===this.#r&&(s?this.ask():this.fail(
new a(t.code,i)))}#E(t){this.isSettled?(this.#g(),this.#u?.resolve(),this.#u=null,this.#i(this)):t.gap&&
this.ask();for(let e of[...this.readers])e.change(t);this.hasEnded&&!this.isSettled&&this.#n()}};function $({
code:o,message:t,retry_after:e=null}){return new a(o,t,e)}var At=5e3,Rt=128,b=class{site;#t;#e;#s;#i=new Map;states=new u;#n=null;#o=!1;constructor(t,e){this.#e=
e,this.site=new v(t,e),this.#t=new S(t,e,{state:s=>this.#l(s),frame:s=>this.#p(s),isWanted:()=>this.#i.
size>0,diagnose:()=>this.site.diagnose()}),this.#s=new x(e,this.site,()=>this.#i.values(),()=>this.state.
state==="connected")}get state(){return this.#t.state}get serverNow(){return this.#t.serverNow}subscribe(t,{
token:e,limit:s}){if(e!=null&&typeof e!="string"&&typeof e!="function")throw new TypeError("realtime\
: a token is a text, or a function that returns one");let i=this.#i.get(t),n=i??new C(t,{connection:this.#t,
platform:this.#e,tokens:this.#s,onOver:r=>this.#f(r),onEnded:()=>this.#h()});return this.#i.set(t,n),
n.limit=s??n.limit,e!=null&&n.setSource(e),this.#e.clearTimeout(this.#n),i===void 0&&queueMicrotask(
()=>this.#a(n)),n}closeIfIdle(){this.#i.size>0||(this.#e.clearTimeout(this.#n),this.#t.close("closed"))}#a(t){
this.#i.get(t.topic)===t&&(this.state.state==="connected"?this.#r():this.#t.open())}#r(){let{subscriptions:t=Rt}=this.#t.
welcome.limits??{},e=[...this.#i.values()],s=t-e.filter(({isActive:n})=>n).length,i=e.filter(({isActive:n})=>!n);
for(let n of i.filter(({hasEnded:r})=>!r)){if(s<=0){let r=e.find(({canYield:h})=>h);if(r===void 0){this.#c(
t);return}r.yield(),s+=1}s-=1,n.ask()}for(let n of i.filter(({hasEnded:r})=>r).slice(0,s))n.ask()}#h(){
this.state.state==="connected"&&this.#r()}#c(t){this.#o||(this.#o=!0,this.#e.warn(`realtime: the ser\
ver allows ${t} subscriptions on a connection. Others wait until some have ended; close handles that\
 you no longer need, or subscribe to a topic of many tasks.`))}#f(t){if(this.#i.get(t.topic)!==t)return;
this.#i.delete(t.topic);let{state:e}=this.state;if(e==="connected"&&this.#r(),this.#i.size>0||e==="d\
isconnected")return;let{setTimeout:s,clearTimeout:i}=this.#e;i(this.#n),this.#n=s(()=>this.#t.close(
""),At)}#l(t){let e=[...this.#i.values()];if(t.state!=="connected")for(let s of e)s.pause();else this.#r();
if(t.state==="disconnected"){this.#s.stop(),this.#e.clearTimeout(this.#n);for(let s of e)s.fail(new a(
"disconnected",t.reason))}this.states.emit(t)}#p(t){if(t.id>0)for(let e of[...this.#i.values()])e.onAnswer(
t);else t.topic!==void 0?this.#i.get(t.topic)?.onFrame(t):t.type==="error"&&f(new a(t.code,t.message))}};
function Z(o,t){let e=globalThis,s=e[Symbol.for("realtime.1")]??=new Map,i=s.get(o);return i===void 0&&
(i=new b(o,t()),s.set(o,i)),i}var _=class{#t;#e;#s=null;#i=()=>{};#n=new u;#o=new u;constructor(t){this.#t=t,this.#e={change:e=>this.
onChange(e),over:e=>this.#a(e)},t.readers.add(this.#e)}onStatus(t){return this.#n.add(t,()=>this.subscription.
feed.tasks.values())}onError(t){return this.onOver(e=>{e.code!=="closed"&&t(e)})}close(){this.#s===null&&
(this.#a(new a("closed","The handle was closed.")),this.#t.leave(this.#e))}get subscription(){return this.#t}onOver(t){
return this.#o.add(t,()=>this.#s===null?[]:[this.#s])}onChange({news:t}){for(let e of t)this.#n.emit(
e)}onClosed(t){this.#i=t}#a(t){this.#s=t,this.#n.clear(),this.#i(),this.#o.emit(t)}},N=class extends _{#t=new u;#e=!1;constructor(t,e){
super(e),this.id=t}get status(){return this.subscription.feed.task}onProgress(t){return this.onStatus(
e=>{e.progress!==null&&t(e.progress,e)})}onEnd(t){return this.onStatus(e=>{c(e)&&t(e)})}onGone(t){return this.#t.
add(t,()=>[])}close(){this.#t.clear(),super.close()}done(){return new Promise((t,e)=>{let s=[this.onEnd(
n=>{i(),t(n)}),this.onOver(n=>{i(),e(n)})],i=()=>s.forEach(n=>n())})}cancel(){return this.subscription.
cancel()}onChange(t){let e=this.status!==null;this.#e&&!e&&this.#t.emit(),this.#e=e,super.onChange(t)}async*[Symbol.
asyncIterator](){let t=[],e=null,s=()=>{},i=[this.onStatus(n=>{t.at(-1)?.state===n.state&&t.pop(),t.
push(n),s()}),this.onOver(n=>{e=n,s()})];try{for(;;){let n=t.shift();if(n!==void 0){if(yield n,c(n))
return}else if(e!==null){if(e.code==="closed")return;throw e}else await new Promise(r=>{s=()=>r(void 0)})}}finally{
for(let n of i)n()}}},O=class extends _{#t=new u;constructor(t,e){super(e),this.name=t}get tasks(){return this.
subscription.feed.tasks}get total(){return this.subscription.feed.total}get hasMore(){return this.subscription.
feed.next!==null}more(t){return this.subscription.more(t)}onSnapshot(t){let{feed:e}=this.subscription;
return this.#t.add(t,()=>e.position===null?[]:[e.tasks])}close(){this.#t.clear(),super.close()}onChange(t){
t.replaced&&this.#t.emit(this.tasks),super.onChange(t)}};var xt="/realtime/ws/";function Q(o,t){return new W(o,t)}function Ct(o){if(/^[A-Za-z0-9_-]+$/.test(o))
return o;let t=new TextEncoder().encode(o);return`~${btoa(String.fromCharCode(...t)).replaceAll("+",
"-").replaceAll("/","_").replaceAll("=","")}`}var W=class extends EventTarget{#t;#e=new Set;#s=!1;constructor(t,e){
super();let s=e?.location??globalThis.location?.href,i=e?.config??p(),n=new URL(t??i.socket??xt,s);n.
protocol=n.protocol.replace("http","ws"),this.#t=e===void 0?Z(n.href,()=>L({config:i})):new b(n.href,
L({...e,config:i}))}get state(){return this.#t.state}get serverTime(){return new Date(this.#t.serverNow)}onState(t){
return this.#t.states.add(t,()=>[this.state])}addEventListener(t,e,s){if(super.addEventListener(t,e,
s),t!=="state"||this.#s)return;this.#s=!0;let i=this.state;this.onState(n=>{n!==i&&(i=n,this.dispatchEvent(
new CustomEvent("state",{detail:n})))})}task(t,e={}){return this.#i(new N(t,this.#t.subscribe(`task:${t}`,
e)))}topic(t,e={}){return this.#i(new O(t,this.#t.subscribe(t,e)))}async requestToken(t){let{token:e,
refused:s}=await this.#t.site.requestToken(t);if(e!==""&&s.size===0)return e;throw new a("not_found",
"no such topic, or not for you")}resultUrl(t){return this.#t.site.url(`tasks/${Ct(t)}/result/`)}close(){
for(let t of[...this.#e])t.close();this.#t.closeIfIdle()}#i(t){return this.#e.add(t),t.onClosed(()=>this.#e.
delete(t)),t}};var D={PENDING:"waiting",RECEIVED:"received",RETRY:"waiting to be tried again",STALLED:"the worker d\
oes not answer",SUCCESS:"succeeded",FAILURE:"failed",REVOKED:"cancelled",LOST:"lost",running:"runnin\
g",cancelling:"cancelling",gone:"not known any more",count:"{current} of {total}",progress:"Progress",
offline:"not connected",delayed:"updates are delayed"};function U(o,t=D){let{error:e,progress:s}=o,i=F(
o,t);if(e)return`${i}: ${e.message||e.type}`;if(!s||c(o))return i;let{current:n,total:r,message:h}=s,
l=n===null?"":`${n}`;n!==null&&r!==null&&(l=(t.count??"").replace("{current}",`${n}`).replace("{tota\
l}",`${r}`));let d=[l,h].filter(Boolean).join(", ");return d?`${i}: ${d}`:i}function F(o,t){return o.
cancelling&&!c(o)?t.cancelling??"":(/^[A-Z]/.test(o.state)&&Object.hasOwn(t,o.state)?t[o.state]:t.running)??
""}var _t=5e3,Nt=5e3,q=null,j=class extends HTMLElement{static observedAttributes=["task-id","token","l\
abel","texts"];#t=null;#e="";#s=null;#i=null;#n=!1;#o=!1;#a="";#r=-1/0;#h=null;#c=null;get task(){return this.#t}connectedCallback(){
this.#f()}disconnectedCallback(){this.#f()}attributeChangedCallback(){this.#f()}#f(){this.#n||(this.#n=
!0,queueMicrotask(()=>{this.#n=!1,this.#i=null,this.#l()}))}#l(){let t=this.isConnected?this.getAttribute(
"task-id")??"":"",e=this.getAttribute("token")??"";if((t!==(this.#t?.id??"")||t!==""&&e!==this.#e)&&
this.#p(t,e),!this.isConnected)return;let s=this.getAttribute("label")??"";w(this.#m("label"),s),this.#m(
"label").hidden=s==="",this.#S.setAttribute("aria-label",s||(this.#y.progress??"")),this.#s!==null&&
this.#k(this.#s)}#p(t,e){let s=this.#t;if(this.#e=e,this.#t=null,this.#o=!1,t!==""){s!==null&&s.id!==
t&&this.#u(),q??=Q();let i=q.task(t,{token:e||void 0});this.#t=i,i.onStatus(n=>this.#d(n)),i.onGone(
()=>this.#T(this.#y.gone??"")),i.onError(n=>{this.#o=!0,this.#T(n.message)}),this.#h??=q.onState(n=>this.#g(
n))}else s!==null&&this.isConnected&&this.#u(),this.#h?.(),this.#h=null,clearTimeout(this.#c);s?.close()}#u(){
this.#s=null,this.removeAttribute("state"),this.#S.hidden=!1,this.#S.removeAttribute("value"),w(this.#m(
"text"),"")}#d(t){this.#s=t,this.#k(t),this.dispatchEvent(new CustomEvent("task-status",{detail:t,bubbles:!0}))}#k(t){
let e=this.#y;this.setAttribute("state",t.state),this.#S.hidden=!1,It(this.#S,t),w(this.#m("text"),U(
t,e)),c(t)&&this.#w(""),this.#b(t,e)}#b(t,e){let s=F(t,e),i=performance.now();if(s===this.#a&&i-this.#r<
_t)return;this.#a=s,this.#r=i;let n=this.getAttribute("label"),r=U(t,e);w(this.#m("announcement"),n?
`${n}: ${r}`:r)}#T(t){this.#S.hidden=!0,this.#w(""),w(this.#m("text"),t),w(this.#m("announcement"),t)}#g({
state:t,reason:e,delayed:s}){this.setAttribute("connection",s?"delayed":t),clearTimeout(this.#c);let{
offline:i,delayed:n}=this.#y;s?this.#w(n??""):t==="connected"||e===""?this.#w(""):t==="disconnected"?
this.#w(`${i}: ${e}`):this.#c=setTimeout(()=>this.#w(`${i}: ${e}`),Nt)}#w(t){let e=this.#o||this.#s!==
null&&c(this.#s);w(this.#m("connection"),e||t===""?"":`(${t})`)}get#y(){return this.#i??={...D,...p().
texts,...this.#v()},this.#i}#v(){try{return JSON.parse(this.getAttribute("texts")||"{}")}catch(t){return f(
t),{}}}get#S(){return this.#m("bar")}#m(t){return this.querySelector('[data-part="announcement"]')===
null&&this.#A(),this.querySelector(`[data-part="${t}"]`)}#A(){for(let[e,s]of Object.entries(Ot)){if(this.
querySelector(`[data-part="${e}"]`)!==null)continue;let i=document.createElement(s);i.dataset.part=e,
this.append(" ",i)}this.#E("label"),this.#E("text");let t=this.#m("announcement");t.setAttribute("ro\
le","status"),Object.assign(t.style,{position:"absolute",width:"1px",height:"1px",overflow:"hidden",
clipPath:"inset(50%)",whiteSpace:"nowrap"})}#E(t){this.#m(t).setAttribute("aria-hidden","true")}},Ot={
label:"span",bar:"progress",text:"span",connection:"span",announcement:"span"};function It(o,t){let{
current:e=null,total:s=null}=t.progress??{};c(t)?(o.max=1,o.value=t.state==="SUCCESS"?1:0):e!==null&&
s!==null&&s>0?(o.max=s,o.value=e):o.removeAttribute("value")}function w(o,t){o.textContent!==t&&(o.textContent=
t)}customElements.get("task-progress")===void 0&&customElements.define("task-progress",j);export{D as TEXTS,j as TaskProgress,U as describe};
