"""The page at /docs: draws /openapi.json with a few lines of script. FastAPI's own loads from a CDN."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tidemill API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
 body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
 h1{font-size:1.5rem} h2{font-size:1.15rem;margin:2rem 0 .3rem} p{margin:.3rem 0}
 details{border:1px solid #d8dee6;border-radius:6px;margin:.4rem 0;padding:.45rem .8rem}
 summary{cursor:pointer} code,pre{font:13px/1.45 ui-monospace,monospace}
 pre{background:#f5f7fa;padding:.6rem;border-radius:6px;overflow:auto;max-height:24rem}
 b.m{display:inline-block;width:3.6rem;font:600 12px ui-monospace,monospace;color:#0b6e4f} b.POST{color:#a4420a}
 .s{color:#5b6875} h3{font-size:.95rem;margin:.7rem 0 .2rem} li{margin:.1rem 0}
</style></head><body>
<h1>Tidemill API</h1><p id="about"></p>
<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p>
<div id="paths">Loading ...</div>
<noscript>This page needs scripts; /openapi.json does not.</noscript>
<script>
const el=(tag,text,parent,cls)=>{const e=document.createElement(tag);if(text!=null)e.textContent=text;
 if(cls)e.className=cls;if(parent)parent.append(e);return e};
const example=(title,value,parent)=>{el('h3',title,parent);el('pre',JSON.stringify(value,null,1),parent)};
fetch('/openapi.json').then(r=>r.json()).then(api=>{
 document.getElementById('about').textContent=api.info.description.replaceAll('`','');
 const root=document.getElementById('paths');root.textContent='';
 for(const tag of api.tags){
  el('h2',tag.name,root);el('p',tag.description,root,'s');
  for(const [path,methods] of Object.entries(api.paths))for(const [method,op] of Object.entries(methods)){
   if(!(op.tags||[]).slice(-1).includes(tag.name))continue;
   const box=el('details',null,root),head=el('summary',null,box),verb=method.toUpperCase();
   el('b',verb,head,'m '+verb);el('code',path+' ',head);el('span',op.summary||'',head,'s');
   el('p',op.description||'',box);
   if((op.parameters||[]).length){el('h3','Parameters',box);const list=el('ul',null,box);
    for(const p of op.parameters)
     el('li',p.name+' ('+p.in+(p.required?', required':'')+') '+(p.description||''),list)}
   for(const [kind,body] of Object.entries((op.requestBody||{}).content||{})){
    const shown=Object.values(body.examples||{});
    if(!shown.length)el('p','Body: '+kind,box);
    for(const one of shown)example('Body, '+one.summary,one.value,box)}
   for(const [status,answer] of Object.entries(op.responses||{})){
    const found=((answer.content||{})['application/json']||{}).example;
    if(found!==undefined)example('Answer '+status,found,box)}
   const bad=Object.entries(op.responses||{}).filter(([s])=>s>='400');
   if(bad.length){el('h3','Problems',box);const list=el('ul',null,box);
    for(const [s,a] of bad)el('li',s+': '+a.description,list)}
  }}
}).catch(()=>{document.getElementById('paths').textContent='openapi.json could not be read.'});
</script></body></html>
"""
