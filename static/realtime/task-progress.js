/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
var S=class{#t;#e;#s;#i;#r=0;#n=0;#o=!1;constructor(t,e,s,i){this.#t=t,this.#e=e,this.#s=s,this.#i=i}start(t){
this.#r=t,this.#a(t)}onFrame(){this.#n=this.#t.now(),this.#o=!1}check(){this.#o?this.#e.hasten(3e3):
this.#h(3e3)}#h(t){this.#o=!0,this.#s(),this.#a(t)}#a(t){let{now:e,wallClock:s}=this.#t,i=e()+t,n=s()+
t;this.#e.set(t,()=>{let o=e()-i,h=e()-this.#n;o>9e4?this.#i("was asleep"):this.#o?this.#i("no answe\
r"):s()-n-o>9e4?this.#h(3e3):h>=this.#r?this.#h(1e4):this.#a(this.#r-h)})}};function d(r){typeof globalThis.reportError=="function"?globalThis.reportError(r):console.error(r)}var f=class{#t=new Set;add(t,e){
let s={handler:t,isReady:!1};return this.#t.add(s),queueMicrotask(()=>{s.isReady=!0;for(let i of[...e()])
this.#e(s,i)}),()=>{this.#t.delete(s)}}emit(t){for(let e of[...this.#t])e.isReady&&this.#e(e,t)}clear(){
this.#t.clear()}#e(t,e){if(this.#t.has(t))try{t.handler(e)}catch(s){d(s)}}};var k=class{#t;#e;#s=[];#i=.8*10;#r=.8*50;#n=0;#o=0;#h=null;constructor(t,e){this.#t=t,this.#e=e}start({
frames_per_second:t=10,frame_burst:e=50}){this.#i=.8*t,this.#r=Math.max(1,Math.floor(.8*e)),this.#n=
this.#r,this.#o=this.#t.now()}clear(){this.#s=[],this.#t.clearTimeout(this.#h),this.#h=null}push(t){
this.#s.push(t),this.#h===null&&this.#c()}pushNow(t){this.#a(),this.#n-=1,this.#e(t)}#a(){let t=this.#t.
now(),e=(t-this.#o)/1e3*this.#i;this.#n=Math.min(this.#r,this.#n+e),this.#o=t}#c(){for(this.#a();this.#n>=
1&&this.#s.length>0;)this.#n-=1,this.#e(this.#s.shift());if(this.#s.length===0)return;let t=Math.ceil(
(1-this.#n)/this.#i*1e3);this.#h=this.#t.setTimeout(()=>{this.#h=null,this.#c()},t)}};function g(r,t){return t()*Math.min(2e4,500*2**r)}function K(r,t,e){return typeof t=="number"?(t+e())*
1e3:r===1012?e()*15e3:void 0}function G(r){return r===1e3||r>=4500&&r<=4999}var u=class{#t;#e=null;#s=null;#i=0;constructor(t){this.#t=t}set(t,e){let{now:s,setTimeout:i}=this.#t;
this.clear(),this.#s=e,this.#i=s()+t,this.#e=i(()=>{this.#s=null,e()},t)}clear(){this.#t.clearTimeout(
this.#e),this.#s=null}hasten(t){this.#s!==null&&this.#t.now()+t<this.#i&&this.set(t,this.#s)}};var nt=1e3,rt=1e4,ot=1e3,ht=2,at=8,z=["online","pageshow","resume","visibilitychange"],ct="updates a\
re delayed: the server cannot reach its store",lt="paused while the page is not shown",y=class{state={
state:"disconnected",reason:"",code:null,delayed:!1};welcome={type:"welcome"};#t;#e;#s;#i;#r;#n;#o=null;#h=0;#a=0;#c="";#f=!1;#u=!1;#w=0;#l=0;#d=0;#m=null;#T="";#S="";constructor(t,e,s){
this.#t=t,this.#e=e,this.#s=s,this.#n=new u(e),this.#i=new k(e,i=>this.#o?.send(i)),this.#r=new S(e,
this.#n,()=>this.#i.pushNow(JSON.stringify({type:"ping",id:++this.#d})),i=>this.#b(1006,i))}open(){if(this.
state.state!=="disconnected")return;let{events:t}=this.#e;for(let e of z)t.addEventListener(e,this.#k);
t.addEventListener("pagehide",this.#A),this.#v("connecting","",null),this.#g()}#g(){if(this.state.state===
"disconnected"||this.#o!==null)return;this.#m=null,this.#T="",this.#f=!1,this.#w=this.#e.now();let t;
try{t=new this.#e.WebSocket(this.#t)}catch(e){this.#_(String(e),null);return}this.#o=t,t.onmessage=({
data:e})=>{t===this.#o&&this.#E(e)},t.onclose=({code:e,reason:s})=>{t===this.#o&&this.#b(e,s)},this.#n.
set(1e4,()=>this.#b(1006,"no answer"))}close(t){this.#x(1e3),this.#_(t,null)}get serverNow(){let{now:t,
wallClock:e}=this.#e,s=Date.parse(this.welcome.now);return Number.isNaN(s)?e():s+t()-this.#l}send(t){
let e=++this.#d;return this.#i.push(JSON.stringify({...t,id:e})),e}#E(t){this.#r.onFrame();let e=ut(
t);switch(e.type){case"":case"pong":break;case"welcome":this.#y(e);break;case"store":this.#R(e.available!==
!1);break;case"closing":this.#m=e,this.#n.set(1e4,()=>this.#b(1006,""));break;default:if(e.type==="e\
rror"&&this.state.state!=="connected"){this.#T=e.message;return}try{this.#s.frame(e)}catch(s){d(s)}}}#y(t){
this.welcome=t,this.#l=this.#e.now(),this.#S="",this.#i.start(t.limits??{}),this.#r.start((t.ping??25)*
1e3),this.#v("connected","",null)}#R(t){this.state.state==="connected"&&this.#v("connected",t?"":ct,
null,!t)}#k=({type:t})=>{if(globalThis.document?.visibilityState==="hidden"&&!this.#u)return;let{now:e,
random:s}=this.#e;if(this.#o===null){if(this.#f)return;t!=="online"||this.#u?this.#p():this.#n.hasten(
s()*nt)}else if(this.state.state!=="connected"){if(e()-this.#w<=3e3)return;this.#x(),this.#p()}else this.#m===
null&&this.#r.check()};#p(){this.#u=!1,this.#n.clear(),this.#g()}#A=({persisted:t})=>{!t||this.state.
state==="disconnected"||(this.#x(1e3),this.#u=!0,this.#f=!1,this.#v("connecting",lt,null))};#b(t,e){
let s=this.#e.now()-this.#l,i=this.state.state==="connected",n=this.#m;if(n!==null&&(t=n.code,e=n.message),
e=this.#T||e||"connection lost",this.#x(),typeof n?.reconnect=="boolean"?!n.reconnect:G(t)){if(this.#_(
e,t),t===4501)return;this.#I(`${e} (${t}). The client reconnects when something is subscribed to.`);
return}if(!this.#s.isNeeded()){this.#_("",null);return}i&&s>=ot?(this.#a=0,this.#c=""):this.#a+=1,i&&
s>=rt&&(this.#h=0),this.#O(t,n?.retry_after),t===1013&&this.#I(`${e} (${t}). Trying again.`),this.#v(
"connecting",this.#c||e,t),this.#a%at===ht&&n===null&&this.#N(t)}#O(t,e){let{random:s}=this.#e,i=g(this.#h++,
s),n=K(t,e,s);this.#f=n!==void 0,this.#n.set(n??i,()=>this.#g())}async#N(t){let{reason:e,retryAfter:s}=await this.#s.
diagnose();this.state.state!=="connecting"||this.#a===0||(this.#c=e,s!==null&&this.#o===null&&this.#O(
t,s),this.#I(`no connection: ${e}. Trying again.`),this.#v("connecting",e,this.state.code))}#I(t){t!==
this.#S&&(this.#S=t,this.#e.warn(`realtime: ${t}`))}#x(t){let e=this.#o;this.#o=null,this.#i.clear(),
this.#n.clear(),e?.close(t)}#_(t,e){let{events:s}=this.#e;for(let i of z)s.removeEventListener(i,this.#k);
s.removeEventListener("pagehide",this.#A),this.#u=!1,this.#a=0,this.#c="",this.#v("disconnected",t,e)}#v(t,e,s,i=!1){
let n=this.state;this.state={state:t,reason:e,code:s,delayed:i},(t!==n.state||e!==n.reason)&&this.#s.
state(this.state)}};function ut(r){try{let t=JSON.parse(r);if(typeof t?.type=="string")return t}catch{}
return{type:""}}var a=class extends Error{name="RealtimeError";constructor(t,e,s=null){super(e),this.code=t,this.retryAfter=
s}};function m(){let r=globalThis.document?.getElementById("realtime-config")?.textContent;return r?JSON.
parse(r):{}}function L(r){let t=r.WebSocket??globalThis.WebSocket;if(t===void 0)throw new TypeError(
"There is no WebSocket here: use Node 22 or newer, or pass one.");return{fetch:(e,s)=>fetch(e,s),setTimeout:(e,s)=>setTimeout(
e,s),clearTimeout:e=>clearTimeout(e),now:()=>performance.now(),wallClock:()=>Date.now(),random:()=>Math.
random(),warn:e=>console.warn(e),events:typeof globalThis.addEventListener=="function"?globalThis:new EventTarget,
location:globalThis.location?.href,config:r.config??m(),...r,WebSocket:t}}var ft=1e4,M=128,B="signing in is needed: another page answered instead of the service",A=class{#t;#e;canRenew;constructor(t,e){
this.#t=e;let{location:s,config:i}=e,n=new URL(t);n.protocol=n.protocol.replace("ws","http"),this.canRenew=
s!==void 0&&new URL(s).origin===n.origin;let o=i.socket!==void 0&&i.http!==void 0&&s!==void 0&&new URL(
i.socket,s).pathname===n.pathname,h=n.pathname.endsWith("/")?"..":".";this.#e=new URL(o?i.http:h,n)}url(t){
return new URL(t,this.#e).href}async requestToken(t){let{csrf_header:e="X-CSRFToken"}=this.#t.config,
s=await this.#s("tokens/",{method:"POST",headers:{Accept:"application/json","Content-Type":"applicat\
ion/json",[e]:this.#i()},body:JSON.stringify({topics:t})});if(X(s))throw new a("unauthorized",B);let i=await s.
json().catch(()=>({}));if(s.ok){let p=new Set(Object.values(i.refused??[]).map(dt));return{token:i.token??
"",refused:p}}let{status:n,url:o}=s,{code:h="internal",message:l=`HTTP ${n} from ${o}`}=i?.error??{};
throw n>=500||n===429?new Error(l):new a(h,l)}async diagnose(){let{location:t}=this.#t,e={Accept:"ap\
plication/json"};this.canRenew&&t&&(e["X-Realtime-Origin"]=new URL(t).origin);let s;try{s=await this.#s(
"ws/",{headers:e})}catch{return{reason:"the server cannot be reached",retryAfter:null}}let i=Number(
s.headers.get("Retry-After")??NaN);return{reason:await pt(s),retryAfter:i>=0?i:null}}async#s(t,e){let s=new AbortController,
i=this.#t.setTimeout(()=>s.abort(),ft);try{return await this.#t.fetch(this.url(t),{credentials:"same\
-origin",cache:"no-store",signal:s.signal,...e})}finally{this.#t.clearTimeout(i)}}#i(){let t={...this.#t.
config,...m()},{csrf_cookie:e="csrftoken",csrf_token:s}=t,{document:i}=globalThis;for(let o of i?.cookie.
split("; ")??[])if(o.startsWith(`${e}=`))return o.slice(e.length+1);return i?.querySelector("input[n\
ame=csrfmiddlewaretoken]")?.value||(s??"")}};function dt(r){return typeof r=="string"?r:r.topic}function X(r){
let t=r.headers.get("Content-Type")??"";return r.redirected||r.ok&&t.includes("html")}async function pt(r){
let{status:t}=r;return X(r)||t===401?B:r.ok||t===426?"the server answers, but a proxy does not pass \
WebSockets on":`${(await r.json().catch(()=>({})))?.error?.message??mt[t]??"the server refuses WebSo\
ckets"} (${t})`}var mt={403:"the server refuses this page",404:"no such service at this address",502:"\
the server cannot be reached",503:"the server is unavailable",504:"the server does not answer"};function V(r,t,e=0){return r===null||t.epoch!==r.epoch?"gap":t.offset<=r.offset?"drop":t.offset-e<=r.
offset+1?"deliver":"gap"}var wt=new Set(["SUCCESS","FAILURE","REVOKED","LOST"]),J=1e3,gt=1e3;function c(r){return wt.has(r.state)}
function v(r,t){return r.published_at!==null&&t.published_at!==null&&t.published_at>r.published_at}function Et(r,t){
return c(r)&&r.state===t.state&&r.run===t.run&&r.attempt===t.attempt&&!v(r,t)}var R=class{position=null;tasks=new Map;total=0;next=null;#t=new Map;#e=new Map;#s=new Set;#i=null;#r=!1;#n=[];#o;constructor(t){
this.#o=t.startsWith("task:")?t.slice(5):null}get task(){return this.#o===null?null:this.tasks.get(this.#o)??
null}pause(){this.#r=!1,this.#n=[]}subscribed(t){let{epoch:e,offset:s,recovered:i,events:n=[],snapshot:o=[]}=t,
h={statuses:[],replaced:!1,gap:!1};if(this.#r=!0,i){this.total=t.total??this.total;for(let p of n)this.#h(
{epoch:e,...p},h);(this.position?.epoch!==e||this.position.offset<s)&&(this.position=null,this.#r=!1,
h.gap=!0)}else this.#a({...t,snapshot:o},h);let l=this.#n;this.#n=[];for(let p of l)this.#h(p,h);return this.#r||
(this.#n=[]),h}snapshot(t){let e={statuses:[],replaced:!1,gap:!1};return this.#a(t,e),e}event(t){let e={
statuses:[],replaced:!1,gap:!1};return this.#h(t,e),e}page({snapshot:t,next:e=null}){let s={statuses:[],
replaced:!1,gap:!1};this.next=e;for(let i of t)this.#f(i)||(this.#u(i,s),this.#s.add(i.task_id));return s}#h(t,e){
if(!this.#r){this.#n.push(t),this.#n.length>gt&&this.#n.shift();return}let{epoch:s,offset:i,merged:n,
status:o}=t;switch(V(this.position,{epoch:s,offset:i},n)){case"deliver":if(this.position={epoch:s,offset:i},
this.#s.has(o.task_id)&&this.#f(o))return;this.#u(o,e);break;case"gap":this.#r=!1,this.#n.push(t),e.
gap=!0;break}}#a({epoch:t,offset:e,snapshot:s,total:i=0,next:n=null},o){let h=this.task;this.#o===null?
this.#c(s,n):s.length===0&&h!==null&&!c(h)&&this.#w(h.task_id),(t!==this.#i||e<(this.position?.offset??
0))&&(this.#t.clear(),this.#i=t),this.position={epoch:t,offset:e},this.total=i,this.next=n,o.replaced=
!0;for(let l of s)this.#f(l)||this.#u(l,o)}#c(t,e){let s=new Set(t.map(n=>n.task_id)),i=e===null?void 0:
t.at(-1);for(let[n,o]of this.tasks){let h=i!==void 0&&v(o,i);!s.has(n)&&!h&&this.#w(n)}}#f(t){let e=t.
task_id,s=this.#t.get(e)??0;if(t.version>s)return!1;let i=this.tasks.get(e);return i===void 0||!v(i,
t)}#u(t,e){let s=t.task_id,i=this.#e.get(s),n=this.tasks.get(s)??i;this.#e.delete(s),this.#s.delete(
s),this.#t.delete(s),this.#t.set(s,t.version),this.tasks.set(s,t),this.total=Math.max(this.total,this.
tasks.size);let o=i?.epoch===this.#i&&i.version===t.version&&i.state===t.state&&!v(i,t),h=n!==void 0&&
Et(n,t);if(!o&&!h?e.statuses.push(t):i!==void 0&&(e.replaced=!0),this.tasks.size>J)for(let[l]of this.#t)
return this.#w(l)}#w(t){let{version:e,state:s,run:i,attempt:n,published_at:o}=this.tasks.get(t);if(this.#e.
set(t,{epoch:this.#i,version:e,state:s,run:i,attempt:n,published_at:o}),this.#e.size>J){let[h]=this.#e.
keys();this.#e.delete(h)}this.tasks.delete(t),this.#t.delete(t),this.#s.delete(t)}};function b(r,t=0){return{token:r,serial:t,endsAt:1/0,renewAt:1/0}}var[Y,bt]=[.5,.8],Z=3e4,Tt=8e3,St=1e3,
x=class{#t;#e;#s;#i;#r=0;#n=new WeakMap;#o=new Map;#h=new Map;#a=0;#c;#f="";constructor(t,e,s,i){this.#t=
t,this.#e=e,this.#s=s,this.#i=i,this.#c=new u(t)}canRenew({source:t}){return typeof t=="function"||this.#e.
canRenew}isNeeded(t){let{source:e,credential:s}=t;return s.serial===0&&E(e)?!0:s.endsAt<=this.#t.now()&&
this.canRenew(t)}async refresh(t){let{source:e}=t,{serial:s}=t.credential;if(E(e))return t.credential=
await this.#m(e,s),!0;let i=this.#h.get(t.topic);if(i===void 0){let n=[...this.#s()].filter(o=>this.#S(
o));i=this.#g([...new Set([t,...n])])}return await i,t.credential.serial>s}granted(t,e){let{now:s,random:i}=this.#t,
{credential:n}=t;if(typeof e!="number")return;let o=e*1e3;n.endsAt===1/0&&(n.renewAt=s()+o*(Y+(bt-Y)*
i())),n.endsAt=s()+o,this.#u()}stop(){this.#c.clear()}#u(){this.#c.clear();let t=Math.min(...[...this.#s()].
map(e=>e.credential.renewAt));t!==1/0&&this.#c.set(Math.max(0,t-this.#t.now()),()=>this.#w())}async#w(){
if(!this.#i())return;let t=[...this.#s()].filter(i=>i.credential.endsAt<1/0);for(let{credential:i}of t)
i.renewAt=1/0;let e=new Set(t.map(({source:i})=>i).filter(i=>E(i))),s=t.filter(i=>!E(i.source)&&this.
canRenew(i));await Promise.all([...[...e].map(i=>{let n=t.filter(o=>o.source===i);return this.#l(n,()=>this.#d(
i,n))}),this.#l(s,()=>this.#g(s))])}async#l(t,e){if(t.length!==0)try{await e(),this.#a=0}catch(s){if(this.#y(
`tokens are not renewed: ${s.message}`),s instanceof a)return;let i=g(this.#a++,this.#t.random),n=this.#t.
now()+Math.max(St,i);for(let{credential:o}of t)o.renewAt=n}finally{this.#u()}}async#d(t,e){let s=Math.
max(...e.map(({credential:n})=>n.serial)),i=await this.#m(t,s);for(let n of e)n.credential=i,n.onRenewed()}#m(t,e){
let s=this.#n.get(t);if(s!==void 0&&s.serial>e&&s.endsAt>this.#t.now())return Promise.resolve(s);let i=this.#o.
get(t);return i===void 0&&(i=this.#T(t).finally(()=>this.#o.delete(t)),this.#o.set(t,i)),i}async#T(t){
let{setTimeout:e,clearTimeout:s}=this.#t,i=null,n=new Promise((o,h)=>{let l=new Error(`the token fun\
ction gave no answer in ${Z/1e3} s`);i=e(()=>h(l),Z)});try{let o=await Promise.race([t(),n])??void 0;
if(o!==void 0&&typeof o!="string")throw new TypeError("realtime: a token function must return a stri\
ng or a promise");let h=b(o,++this.#r);return this.#n.set(t,h),h}catch(o){throw d(o),new Error(String(
o),{cause:o})}finally{s(i)}}#S({source:t,credential:e}){return!E(t)&&e.token!==void 0}async#g(t){let e=t.
slice(0,kt(t)),s=this.#E(e).finally(()=>{for(let{topic:i}of e)this.#h.delete(i)});for(let{topic:i}of e)
this.#h.set(i,s);await s,e.length<t.length&&await this.#g(t.slice(e.length))}async#E(t){let e=t.map(
({topic:o})=>o),{token:s,refused:i}=await this.#e.requestToken(e);if(s==="")return;let n=b(s,++this.#r);
for(let o of t)i.has(o.topic)||(o.credential=n,o.onRenewed())}#y(t){t!==this.#f&&(this.#f=t,this.#t.
warn(`realtime: ${t}`))}};function kt(r){let t=0,e=r.slice(0,M).findIndex(({topic:s})=>(t+=s.replace(
/[^ -~]/g,"......").length+3,t>Tt));return e===-1?M:Math.max(1,e)}function E(r){return typeof r=="fu\
nction"}var P=class{id=0;resolve=()=>{};reject=()=>{};constructor(t){this.frame=t,this.promise=new Promise((e,s)=>Object.
assign(this,{resolve:e,reject:s}))}},_=class{source=void 0;credential=b(void 0);isActive=!1;limit=void 0;readers=new Set;topic;#t;#e;#s;#i;#r;#n=0;#o=null;#h=0;#a=!1;#c=!1;#f=0;#u=null;#w;#l=null;#d=null;constructor(t,{
connection:e,platform:s,tokens:i,onClosed:n,onTaskEnded:o}){this.topic=t,this.#t=e,this.#e=s,this.#s=
i,this.#i=n,this.#r=o,this.#w=new u(s),this.feed=new R(t)}get hasSucceeded(){return this.feed.task?.
state==="SUCCESS"}get hasEnded(){return this.feed.task!==null&&c(this.feed.task)}get isReplaceable(){
return this.hasEnded&&this.#a&&!this.#l&&!this.#d}release(){this.#g()}setSource(t){t!==this.source&&
(this.source=t,this.credential=b(typeof t=="string"?t:void 0),this.#a&&this.request())}async request(){
if(this.hasSucceeded||this.#u!==null)return;let t=this.#T();if(this.isActive=!0,this.#s.isNeeded(this)){
try{await this.#s.refresh(this)}catch(e){if(!(e instanceof a)){t===this.#h&&this.#m(()=>this.request());
return}}if(t!==this.#h)return}this.#o=this.credential,this.#n=this.#t.send({type:"subscribe",topic:this.
topic,since:this.feed.position??void 0,token:this.credential.token,limit:this.limit})}onRenewed(){this.#a&&
this.request()}#m(t,e=g(this.#f++,this.#e.random)){this.#w.set(e,t)}#T(){return this.#w.clear(),++this.#h}pause(){
this.#T(),this.isActive=!1,this.#c=!1,this.#S()}#S(){this.#n=0,this.#a=!1;for(let t of[this.#l,this.#d])
t&&(t.id=0);this.feed.pause()}removeReader(t){!this.readers.delete(t)||this.readers.size>0||(this.#g(),
this.fail(new a("closed","The last handle of the topic was closed.")))}#g(){this.#n>0&&this.#t.send(
{type:"unsubscribe",topic:this.topic}),this.pause()}fail(t){if(this.#u!==null)return;this.#u=t,this.
pause(),this.#i(this),this.#l?.reject(t),this.#d?.reject(t),this.#l=this.#d=null;let e=[...this.readers];
this.readers.clear();for(let s of e)s.error(t)}cancel(){if(this.hasSucceeded||this.hasEnded&&!this.isActive)
return Promise.resolve();let t=this.topic.slice(5);return this.#l??=this.#E({type:"cancel",task_id:t}),
this.#l.promise}more(t){if(this.feed.position!==null&&this.feed.next===null)return Promise.resolve();
let{topic:e,feed:s}=this;return this.#d??=this.#E(()=>({type:"page",topic:e,after:s.next,limit:t})),
this.#d.promise}#E(t){let e=new P(typeof t=="function"?t:()=>t);return this.#u!==null?e.reject(this.#u):
this.#a&&(e.id=this.#t.send(e.frame())),e}#y(){for(let t of[this.#l,this.#d])t?.id===0&&(t.id=this.#t.
send(t.frame()))}onFrame(t){switch(t.type){case"event":this.#b(this.feed.event(t));break;case"snapsh\
ot":this.#b(this.feed.snapshot(t));break;case"unsubscribed":this.#p(new a(t.code,t.message));break}}onAnswer(t){
if(t.id===this.#n)t.type==="subscribed"?this.#R(t):t.type==="error"&&this.#k(U(t));else if(t.id===this.#l?.
id)t.type==="cancelled"?this.#l?.resolve():this.#l?.reject(U(t)),this.#l=null;else if(t.id===this.#d?.
id){let e=this.#d;this.#d=null,t.type==="page"&&this.#b(this.feed.page(t)),t.type==="page"?e?.resolve():
e?.reject(U(t))}}#R(t){this.#f=0,this.#a=!0,this.#c=!1,this.#s.granted(this,t.expires_in),this.#b(this.
feed.subscribed(t)),this.#a&&this.#y()}#k(t){let{code:e,retryAfter:s}=t;this.#n=0,this.#a=!1,e==="li\
mit"&&s!==null?this.#m(()=>this.request(),(s+this.#e.random())*1e3):e==="internal"?this.#m(()=>this.
request()):e==="unauthorized"?this.#A(t):this.fail(t)}#p(t){this.#S(),t.code==="unauthorized"?this.#A(
t):this.fail(t)}async#A(t){if(this.#c||!this.#s.canRenew(this)){this.fail(t);return}let e=this.#T();
this.#c=!0;let s=this.credential!==this.#o,{message:i}=t;try{s||=await this.#s.refresh(this)}catch(n){
if(e!==this.#h)return;if(!(n instanceof a)){this.#c=!1,this.#m(()=>this.#A(t));return}i+=` (${n.message}\
)`}e===this.#h&&(s?this.request():this.fail(new a(t.code,i)))}#b(t){this.hasSucceeded?(this.#g(),this.#l?.
resolve(),this.#l=null,this.#i(this)):t.gap&&this.request();for(let e of[...this.readers])e.update(t);
this.hasEnded&&!this.hasSucceeded&&this.#r()}};function U({code:r,message:t,retry_after:e=null}){return new a(
r,t,e)}var yt=5e3,At=128,T=class{http;#t;#e;#s;#i=new Map;states=new f;#r;#n=!1;constructor(t,e){this.#e=e,
this.#r=new u(e),this.http=new A(t,e),this.#t=new y(t,e,{state:s=>this.#f(s),frame:s=>this.#u(s),isNeeded:()=>this.#i.
size>0,diagnose:()=>this.http.diagnose()}),this.#s=new x(e,this.http,()=>this.#i.values(),()=>this.state.
state==="connected")}get state(){return this.#t.state}get serverNow(){return this.#t.serverNow}subscribe(t,{
token:e,limit:s}){if(e!=null&&typeof e!="string"&&typeof e!="function")throw new TypeError("realtime\
: a token must be a string or a function");let i=this.#i.get(t),n=i??new _(t,{connection:this.#t,platform:this.#e,
tokens:this.#s,onClosed:o=>this.#c(o),onTaskEnded:()=>this.#h()});return this.#i.set(t,n),n.limit=s??
n.limit,e!=null&&n.setSource(e),this.#r.clear(),i===void 0&&queueMicrotask(()=>this.#o(n)),n}closeIfIdle(){
this.#i.size>0||(this.#r.clear(),this.#t.close("closed"))}#o(t){this.#i.get(t.topic)===t&&(this.#h(),
this.#t.open())}#h(){if(this.state.state!=="connected")return;let{subscriptions:t=At}=this.#t.welcome.
limits??{},e=[...this.#i.values()],s=t-e.filter(({isActive:n})=>n).length,i=e.filter(({isActive:n})=>!n);
for(let n of i.filter(({hasEnded:o})=>!o)){if(s<=0){let o=e.find(({isReplaceable:h})=>h);if(o===void 0){
this.#a(t);return}o.release(),s+=1}s-=1,n.request()}for(let n of i.filter(({hasEnded:o})=>o).slice(0,
s))n.request()}#a(t){this.#n||(this.#n=!0,this.#e.warn(`realtime: the server allows ${t} subscriptio\
ns on a connection. Others wait until some have ended. Close handles that are not needed, or subscri\
be to a topic of many tasks.`))}#c(t){this.#i.get(t.topic)===t&&(this.#i.delete(t.topic),this.#h(),!(this.#i.
size>0||this.state.state==="disconnected")&&this.#r.set(yt,()=>this.#t.close("")))}#f(t){let e=[...this.#i.
values()];if(t.state!=="connected")for(let s of e)s.pause();if(this.#h(),t.state==="disconnected"){this.#s.
stop(),this.#r.clear();for(let s of e)s.fail(new a("disconnected",t.reason))}this.states.emit(t)}#u(t){
if(t.id>0)for(let e of[...this.#i.values()])e.onAnswer(t);else t.topic!==void 0?this.#i.get(t.topic)?.
onFrame(t):t.type==="error"&&d(new a(t.code,t.message))}};function Q(r,t){let e=globalThis,s=e[Symbol.
for("realtime.1")]??=new Map,i=s.get(r);return i===void 0&&(i=new T(r,t()),s.set(r,i)),i}var I=class{#t;#e;#s=null;#i=()=>{};#r=new f;#n=new f;constructor(t){this.#t=t,this.#e={update:e=>this.
onUpdate(e),error:e=>this.#o(e)},t.readers.add(this.#e)}onStatus(t){return this.#r.add(t,()=>this.subscription.
feed.tasks.values())}onError(t){return this.onAnyError(e=>{e.code!=="closed"&&t(e)})}close(){this.#s===
null&&(this.#o(new a("closed","The handle was closed.")),this.#t.removeReader(this.#e))}get subscription(){
return this.#t}onAnyError(t){return this.#n.add(t,()=>this.#s===null?[]:[this.#s])}onUpdate({statuses:t}){
for(let e of t)this.#r.emit(e)}onClosed(t){this.#i=t}#o(t){this.#s=t,this.#r.clear(),this.#i(),this.#n.
emit(t)}},O=class extends I{#t=new f;#e=!1;constructor(t,e){super(e),this.id=t}get status(){return this.
subscription.feed.task}onProgress(t){return this.onStatus(e=>{e.progress!==null&&t(e.progress,e)})}onEnd(t){
return this.onStatus(e=>{c(e)&&t(e)})}onGone(t){return this.#t.add(t,()=>[])}close(){this.#t.clear(),
super.close()}done(){return new Promise((t,e)=>{let s=[this.onEnd(n=>{i(),t(n)}),this.onAnyError(n=>{
i(),e(n)})],i=()=>s.forEach(n=>n())})}cancel(){return this.subscription.cancel()}onUpdate(t){let e=this.
status!==null;this.#e&&!e&&this.#t.emit(),this.#e=e,super.onUpdate(t)}async*[Symbol.asyncIterator](){
let t=[],e=null,s=()=>{},i=[this.onStatus(n=>{t.at(-1)?.state===n.state&&t.pop(),t.push(n),s()}),this.
onAnyError(n=>{e=n,s()})];try{for(;;){let n=t.shift();if(n!==void 0){if(yield n,c(n))return}else if(e!==
null){if(e.code==="closed")return;throw e}else await new Promise(o=>{s=()=>o(void 0)})}}finally{for(let n of i)
n()}}},N=class extends I{#t=new f;constructor(t,e){super(e),this.name=t}get tasks(){return this.subscription.
feed.tasks}get total(){return this.subscription.feed.total}get hasMore(){return this.subscription.feed.
next!==null}more(t){return this.subscription.more(t)}onSnapshot(t){let{feed:e}=this.subscription;return this.#t.
add(t,()=>e.position===null?[]:[e.tasks])}close(){this.#t.clear(),super.close()}onUpdate(t){t.replaced&&
this.#t.emit(this.tasks),super.onUpdate(t)}};var vt="/realtime/ws/";function tt(r,t){return new $(r,t)}function Rt(r){if(/^[A-Za-z0-9_-]+$/.test(
r))return r;let t=new TextEncoder().encode(r);return`~${btoa(String.fromCharCode(...t)).replaceAll("\
+","-").replaceAll("/","_").replaceAll("=","")}`}var $=class extends EventTarget{#t;#e=new Set;#s=!1;constructor(t,e){
super();let s=e?.location??globalThis.location?.href,i=e?.config??m(),n=new URL(t??i.socket??vt,s);n.
protocol=n.protocol.replace("http","ws"),this.#t=e===void 0?Q(n.href,()=>L({config:i})):new T(n.href,
L({...e,config:i}))}get state(){return this.#t.state}get serverTime(){return new Date(this.#t.serverNow)}onState(t){
return this.#t.states.add(t,()=>[this.state])}addEventListener(t,e,s){if(super.addEventListener(t,e,
s),t!=="state"||this.#s)return;this.#s=!0;let i=this.state;this.onState(n=>{n!==i&&(i=n,this.dispatchEvent(
new CustomEvent("state",{detail:n})))})}task(t,e={}){return this.#i(new O(t,this.#t.subscribe(`task:${t}`,
e)))}topic(t,e={}){return this.#i(new N(t,this.#t.subscribe(t,e)))}async requestToken(t){let{token:e,
refused:s}=await this.#t.http.requestToken(t);if(e!==""&&s.size===0)return e;throw new a("not_found",
"no such topic, or not for you")}resultUrl(t){return this.#t.http.url(`tasks/${Rt(t)}/result/`)}close(){
for(let t of[...this.#e])t.close();this.#t.closeIfIdle()}#i(t){return this.#e.add(t),t.onClosed(()=>this.#e.
delete(t)),t}};var q={PENDING:"waiting",RECEIVED:"received",RETRY:"waiting to be tried again",STALLED:"the worker d\
oes not answer",SUCCESS:"succeeded",FAILURE:"failed",REVOKED:"cancelled",LOST:"lost",running:"runnin\
g",cancelling:"cancelling",gone:"not known any more",count:"{current} of {total}",progress:"Progress",
offline:"not connected",delayed:"updates are delayed"};function W(r,t=q){let{error:e,progress:s}=r,i=F(
r,t);if(e)return`${i}: ${e.message||e.type}`;if(!s||c(r))return i;let{current:n,total:o,message:h}=s,
l=n===null?"":`${n}`;n!==null&&o!==null&&(l=(t.count??"").replace("{current}",`${n}`).replace("{tota\
l}",`${o}`));let p=[l,h].filter(Boolean).join(", ");return p?`${i}: ${p}`:i}function F(r,t){return r.
cancelling&&!c(r)?t.cancelling??"":(/^[A-Z]/.test(r.state)&&Object.hasOwn(t,r.state)?t[r.state]:t.running)??
""}var xt=5e3,_t=5e3,D=null,j=class extends HTMLElement{static observedAttributes=["task-id","token","l\
abel","texts"];#t=null;#e="";#s=null;#i=null;#r=!1;#n=!1;#o="";#h=-1/0;#a=null;#c=null;get task(){return this.#t}connectedCallback(){
this.#f()}disconnectedCallback(){this.#f()}attributeChangedCallback(){this.#f()}#f(){this.#r||(this.#r=
!0,queueMicrotask(()=>{this.#r=!1,this.#i=null,this.#u()}))}#u(){let t=this.isConnected?this.getAttribute(
"task-id")??"":"",e=this.getAttribute("token")??"";if((t!==(this.#t?.id??"")||t!==""&&e!==this.#e)&&
this.#w(t,e),!this.isConnected)return;let s=this.getAttribute("label")??"";w(this.#p("label"),s),this.#p(
"label").hidden=s==="",this.#k.setAttribute("aria-label",s||(this.#y.progress??"")),this.#s!==null&&
this.#m(this.#s)}#w(t,e){let s=this.#t;if(this.#e=e,this.#t=null,this.#n=!1,t!==""){s!==null&&s.id!==
t&&this.#l(),D??=tt();let i=D.task(t,{token:e||void 0});this.#t=i,i.onStatus(n=>this.#d(n)),i.onGone(
()=>this.#S(this.#y.gone??"")),i.onError(n=>{this.#n=!0,this.#S(n.message)}),this.#a??=D.onState(n=>this.#g(
n))}else s!==null&&this.isConnected&&this.#l(),this.#a?.(),this.#a=null,clearTimeout(this.#c);s?.close()}#l(){
this.#s=null,this.removeAttribute("state"),this.#k.hidden=!1,this.#k.removeAttribute("value"),w(this.#p(
"text"),"")}#d(t){this.#s=t,this.#m(t),this.dispatchEvent(new CustomEvent("task-status",{detail:t,bubbles:!0}))}#m(t){
let e=this.#y;this.setAttribute("state",t.state),this.#k.hidden=!1,Ot(this.#k,t),w(this.#p("text"),W(
t,e)),c(t)&&this.#E(""),this.#T(t,e)}#T(t,e){let s=F(t,e),i=performance.now();if(s===this.#o&&i-this.#h<
xt)return;this.#o=s,this.#h=i;let n=this.getAttribute("label"),o=W(t,e);w(this.#p("announcement"),n?
`${n}: ${o}`:o)}#S(t){this.#k.hidden=!0,this.#E(""),w(this.#p("text"),t),w(this.#p("announcement"),t)}#g({
state:t,reason:e,delayed:s}){this.setAttribute("connection",s?"delayed":t),clearTimeout(this.#c);let{
offline:i,delayed:n}=this.#y;s?this.#E(n??""):t==="connected"||e===""?this.#E(""):t==="disconnected"?
this.#E(`${i}: ${e}`):this.#c=setTimeout(()=>this.#E(`${i}: ${e}`),_t)}#E(t){let e=this.#n||this.#s!==
null&&c(this.#s);w(this.#p("connection"),e||t===""?"":`(${t})`)}get#y(){return this.#i??={...q,...m().
texts,...this.#R()},this.#i}#R(){try{return JSON.parse(this.getAttribute("texts")||"{}")}catch(t){return d(
t),{}}}get#k(){return this.#p("bar")}#p(t){return this.querySelector('[data-part="announcement"]')===
null&&this.#A(),this.querySelector(`[data-part="${t}"]`)}#A(){for(let[e,s]of Object.entries(It)){if(this.
querySelector(`[data-part="${e}"]`)!==null)continue;let i=document.createElement(s);i.dataset.part=e,
this.append(" ",i)}this.#b("label"),this.#b("text");let t=this.#p("announcement");t.setAttribute("ro\
le","status"),Object.assign(t.style,{position:"absolute",width:"1px",height:"1px",overflow:"hidden",
clipPath:"inset(50%)",whiteSpace:"nowrap"})}#b(t){this.#p(t).setAttribute("aria-hidden","true")}},It={
label:"span",bar:"progress",text:"span",connection:"span",announcement:"span"};function Ot(r,t){let{
current:e=null,total:s=null}=t.progress??{};c(t)?(r.max=1,r.value=t.state==="SUCCESS"?1:0):e!==null&&
s!==null&&s>0?(r.max=s,r.value=e):r.removeAttribute("value")}function w(r,t){r.textContent!==t&&(r.textContent=
t)}customElements.get("task-progress")===void 0&&customElements.define("task-progress",j);export{q as TEXTS,j as TaskProgress,W as describe};
