// All models, one a row. The rows change with a route or a pool; `say` brings the numbers that change every second.
export default {
  template: `
    <div class="models" role="list">
      <div v-for="row in rows" :key="row.model" role="listitem" :class="['model', {ill: row.ills.length}]">
        <div class="name"><a :href="row.to">{{ row.model }}</a></div>
        <div class="wide">
          <div v-if="row.split.length" class="split" role="img" :aria-label="'Split: ' + row.words" :title="row.words">
            <div v-for="part in row.split" :key="part.version" :class="['part', part.kind]"
                 :style="{flexGrow: part.weight}">{{ part.shown }}</div>
          </div>
          <span v-else class="soft">{{ row.none }}</span>
        </div>
        <div class="rate">
          <span class="strong">{{ told(row).rate }}</span>
          <span v-if="told(row).failed" :class="['badge', told(row).kind]">{{ told(row).failed }}</span>
        </div>
        <div class="row-of">
          <span v-for="ill in row.ills" :key="ill" class="badge bad">{{ ill }}</span>
          <span v-if="!row.ills.length" class="badge good">{{ row.workers }}</span>
        </div>
        <div class="soft">{{ row.also }}</div>
      </div>
    </div>`,
  props: { rows: Array, numbers: Object },
  data() { return { newest: { ...this.numbers } }; },
  methods: {
    say(changed) { this.newest = { ...this.newest, ...changed }; },
    told(row) { return this.newest[row.model] || { rate: "–" }; },
  },
};
