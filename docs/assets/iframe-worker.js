/* Browsers refuse a Worker to a page that is a file. The search then runs in a hidden frame that passes messages on. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      const from = new URL(address, document.baseURI).href;
      const tell = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
      // a worker's own names, in a window: importScripts must have loaded before what follows it is run
      inside.importScripts = (...files) =>
        Promise.all(files.map((file) => new Promise((done, failed) => {
          const script = inside.document.createElement("script");
          script.src = new URL(file, from).href;
          script.onload = done;
          script.onerror = failed;
          inside.document.body.append(script);
        })));
      inside.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      this.postMessage = (data) => (waiting ? waiting.push(data) : tell(data));
      const script = inside.document.createElement("script");
      script.src = from;
      script.onload = () => {
        this.postMessage = tell;
        waiting.splice(0).forEach(tell);
      };
      inside.document.body.append(script);
      this.terminate = () => frame.remove();
    }
  };
}
