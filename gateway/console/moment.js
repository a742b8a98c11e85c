// A time as its viewer's clock, zone and language say it; an age counts on by itself.
export default {
  template: `<time :datetime="iso" :title="whole">{{ shown }}</time>`,
  props: { ms: Number, age: Boolean },
  data: () => ({ now: Date.now(), timer: null }),
  computed: {
    iso() { return new Date(this.ms).toISOString(); },
    whole() { return new Date(this.ms).toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" }); },
    shown() {
      if (!this.age) return new Date(this.ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      const s = Math.max(0, (this.now - this.ms) / 1000);
      for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]])
        if (s >= 2 * size) return `${Math.round(s / size)} ${unit} ago`;
      return s < 5 ? "just now" : `${Math.floor(s / 5) * 5} s ago`;
    },
  },
  mounted() { if (this.age) this.timer = setInterval(() => { this.now = Date.now(); }, 5000); },
  unmounted() { clearInterval(this.timer); },
};
