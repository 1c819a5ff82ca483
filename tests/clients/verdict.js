// What the clients in JavaScript share; see verdict.py.
const readline = require("node:readline");

exports.answer = async (ask) => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [url, how, encoding] = line.split(" ");
        const verdict = { rows: null, sum: null, encoding: null, error: null };
        const decoder = new TextDecoder();
        let text = "";
        const arrived = (part) => {
            const here = text.includes('"id":2,');
            text += decoder.decode(part, { stream: true });
            if (how === "arriving" && !here && text.includes('"id":2,')) console.log("rows are here");
        };
        try {
            verdict.encoding = await ask(url, { "Accept-Encoding": encoding }, how, arrived);
        } catch (error) {
            verdict.error = `${error.name}: ${error.message}`;
        }
        try {
            const rows = JSON.parse(text).results;
            verdict.rows = rows.length;
            verdict.sum = rows.reduce((sum, row) => sum + row.id, 0);
        } catch {} // It is cut.
        console.log(JSON.stringify(verdict));
    }
};
