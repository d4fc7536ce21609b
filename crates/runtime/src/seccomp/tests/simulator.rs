//! Classic BPF as the kernel runs it for seccomp, for the instructions that filters use.

/// What a filter is asked: `struct seccomp_data` without the instruction pointer.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            8 | 12 => 0,
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// The filter's answer, and how many instructions it took.
pub(super) fn run(program: &[u8], call: &Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0_usize, 0_u32, 0);
    loop {
        let i = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([i[0], i[1]]);
        let (yes, no) = (usize::from(i[2]), usize::from(i[3]));
        let value = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
        let jump = |holds: bool| if holds { yes } else { no };
        at += 1;
        steps += 1;
        match code {
            0x20 => accumulator = call.word(value),
            0x05 => at += value as usize,
            0x15 => at += jump(accumulator == value),
            0x25 => at += jump(accumulator > value),
            0x35 => at += jump(accumulator >= value),
            0x45 => at += jump(accumulator & value != 0),
            0x54 => accumulator &= value,
            0x06 => return (value, steps),
            _ => panic!("instruction {code:#x}"),
        }
    }
}
