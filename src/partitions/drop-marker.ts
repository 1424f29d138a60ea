/** Ends the comment of a partition that is being dropped, so that the table is recognised once it is detached. */
export const dropMarker = 'To be dropped: crm-schema partitions drop.';
