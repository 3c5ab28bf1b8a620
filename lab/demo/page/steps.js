// Where the lecture stands, and how keys move it; the same rules as lab/demo/player.py and web.py, for when there is no
// lab to ask. A blank screen is never left behind unseen: the key that would step shows it again.

/** A state: position, last, asked (a question is open), answered (numbers of moments already revealed), blank. */
export function moved(state, action, questionOf) {
  const next = { ...state, answered: [...state.answered] };
  if (state.blank && ["next", "back"].includes(action.do)) return { ...next, blank: false };
  const show = (number) => {
    next.position = Math.min(Math.max(number, 0), state.last);
    next.asked = false;
    next.answered.push(next.position);
  };
  switch (action.do) {
    case "next": {
      const wanted = state.position + 1;
      if (wanted > state.last) break;
      if (questionOf(wanted) && !state.asked && !state.answered.includes(wanted)) next.asked = true;
      else show(wanted);
      break;
    }
    case "back":
      if (state.asked) next.asked = false;
      else if (state.position > 0) show(state.position - 1);
      break;
    case "go":
      next.blank = false;
      show(action.number);
      break;
    case "blank":
      next.blank = !state.blank;
      break;
  }
  return next;
}
